"""The LoRA library: the files under ``loras/``, their details, and finding them by name."""

from zimage_app.service.library.loras.entry import LoraEntry
from zimage_app.service.library.loras.library import LoraLibrary

__all__ = ["LoraEntry", "LoraLibrary"]
