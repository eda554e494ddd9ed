"""The library of negative prompts: the files under ``presets/negative/``, favourites, and the user's entries."""

from zimage_app.service.library.negatives.library import NegativeLibrary

__all__ = ["NegativeLibrary"]
