"""Crash-safe files and databases, whatever their content."""
