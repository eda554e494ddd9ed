"""Imports settings from pictures and workflows that are dropped on the page."""
