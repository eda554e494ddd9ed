"""Many pictures from one order: batch files and grids are turned into lists of requests, which the queue runs."""
