"""LoRAs: reads all common file layouts, applies LoRAs to a model and removes them without any change left."""

from zimage_app.models.lora.manager import LoraManager, LoraStack, Patchable, ResolvedLora, applied

__all__ = ["LoraManager", "LoraStack", "Patchable", "ResolvedLora", "applied"]
