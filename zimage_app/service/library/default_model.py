"""The model to use where none is named."""

from __future__ import annotations

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.models.find.catalogue import list_models
from zimage_app.service.setup.config import StudioConfig

_PREFERRED = ("z-image-turbo", "z-image-turbo-bf16", "z-image-turbo-int8")
"""Variants of Z-Image-Turbo, the one closest to the original first; other variants come after these."""
_DEMO = "demo"


def default_model(config: StudioConfig) -> str:
    """The configured model, else a variant of Z-Image-Turbo on this machine, else the demo model."""
    if config.model is not None:
        return config.model
    sources = list_models(config.model_folders)
    here = [s.card.name for s in sources if s.present and s.card.family == Z_IMAGE_TURBO.family]
    return next((name for name in (*_PREFERRED, *here) if name in here), _DEMO)
