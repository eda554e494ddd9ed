"""Many pictures from one order: batch files and grids as lists of requests. The queue runs them."""
