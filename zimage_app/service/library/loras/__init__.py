"""The LoRA library: what lies under ``loras/``, what is known of it, and what a name means."""

from zimage_app.service.library.loras.entry import LoraEntry
from zimage_app.service.library.loras.library import LoraLibrary

__all__ = ["LoraEntry", "LoraLibrary"]
