"""Saved pictures: written whole with their settings inside (``gallery.py``), listed (``history/``), compared."""
