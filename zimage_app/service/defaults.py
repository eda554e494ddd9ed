"""Which model to use when none was named."""

from __future__ import annotations

from zimage_app.models.spec import list_models
from zimage_app.service.config import StudioConfig

_PREFERRED = ("z-image-turbo", "demo")


def default_model(config: StudioConfig) -> str:
    """The one that was configured; else Z-Image-Turbo where it is on this machine; else the demo model."""
    if config.model is not None:
        return config.model
    here = {source.card.name for source in list_models(config.shelves) if source.present}
    return next((name for name in _PREFERRED if name in here), _PREFERRED[-1])
