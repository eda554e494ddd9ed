"""Z-Image Progressive Studio: pictures in three progressive stages.

>>> from zimage_app import GenerationRequest, load_generator
>>> generated = load_generator("demo").generate(GenerationRequest(prompt="a red boat on a lake", seed=42))
>>> generated.image.size
(672, 864)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zimage_app.domain.version import __version__

if TYPE_CHECKING:
    from zimage_app.domain.request import GenerationRequest
    from zimage_app.domain.settings.guidance import EasyCache
    from zimage_app.domain.settings.lora_use import LoraUse
    from zimage_app.domain.settings.stage import Stage
    from zimage_app.service.generation.generator import Generator, load_generator

__all__ = ["EasyCache", "GenerationRequest", "Generator", "LoraUse", "Stage", "__version__", "load_generator"]

_HOMES = {
    "EasyCache": "zimage_app.domain.settings.guidance",
    "GenerationRequest": "zimage_app.domain.request",
    "LoraUse": "zimage_app.domain.settings.lora_use",
    "Stage": "zimage_app.domain.settings.stage",
    "Generator": "zimage_app.service.generation.generator",
    "load_generator": "zimage_app.service.generation.generator",
}


def __getattr__(name: str) -> Any:
    # Imported on first access: the service imports torch, which takes seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
