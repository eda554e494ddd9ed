"""Presets: what lies under ``presets/`` and, of the user's own, under ``presets/my/``."""

from zimage_app.service.library.presets.library import PresetLibrary

__all__ = ["PresetLibrary"]
