"""LoRAs: reading every layout, putting them on a model and taking them off, exactly."""

from zimage_app.models.lora.manager import LoraManager, LoraStack, Patchable, ResolvedLora, applied

__all__ = ["LoraManager", "LoraStack", "Patchable", "ResolvedLora", "applied"]
