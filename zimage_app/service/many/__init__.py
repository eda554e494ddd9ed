"""Converts batch files (``batch``) and grids (``grids``) to lists of planned requests, which the queue runs."""
