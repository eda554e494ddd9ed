"""The page as a whole: layout, event handlers, theme, fonts and general styles. Begin with ``page.py``."""
