"""Files and databases that stay whole whatever happens. Knows nothing of what is in them."""
