"""Grids and batches on the page, and their routes."""
