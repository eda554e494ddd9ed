"""LoRAs: finding the file, reading every layout, putting them on a model and taking them off, exactly."""

from zimage_app.models.lora.files import resolve, sha256, short_hash
from zimage_app.models.lora.manager import LoraManager, Patchable, ResolvedLora, applied

__all__ = ["LoraManager", "Patchable", "ResolvedLora", "applied", "resolve", "sha256", "short_hash"]
