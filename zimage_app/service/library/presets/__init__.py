"""The preset library: shipped presets under ``presets/``, the user's own under ``presets/my/``."""

from zimage_app.service.library.presets.library import PresetLibrary

__all__ = ["PresetLibrary"]
