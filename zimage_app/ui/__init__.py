"""The page: a folder for each feature with its Python, markup, scripts and styles. Begin with ``page/page.py``."""
