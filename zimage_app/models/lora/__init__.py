"""LoRAs: reads all common file layouts, applies LoRAs to a model and removes them without any change left."""

from zimage_app.models.lora.manager import LoraManager, LoraStack, ResolvedLora

__all__ = ["LoraManager", "LoraStack", "ResolvedLora"]
