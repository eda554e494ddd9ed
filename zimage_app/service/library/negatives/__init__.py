"""The library of negative prompts: what lies under ``presets/negative/``, favourites, and entries of one's own."""

from zimage_app.service.library.negatives.library import NegativeLibrary

__all__ = ["NegativeLibrary"]
