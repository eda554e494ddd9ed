"""The page as a whole: which component stands where, which handler answers it, colours and styles."""
