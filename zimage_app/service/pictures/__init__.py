"""Saved pictures: written with their settings inside (``gallery.py``), listed (``history/``) and compared."""
