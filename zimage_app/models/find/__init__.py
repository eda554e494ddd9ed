"""Finds models and their files without reading weights. Start reading at ``catalogue.py``."""
