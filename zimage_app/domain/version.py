"""The app's version, as pictures record it."""

__version__ = "0.1.0"
