"""The model panel: which models there are, fetching and unloading one."""
