"""The app's version, as pictures record it."""

__version__ = "0.2.0"
SERVICE = "Z-Image Progressive Studio"
"""The app's name in the health check and in records."""
