"""Exports settings to other programs' files, which make the same picture there. Start with ``comfy``."""
