"""How wide a model's transformer is, by which LoRAs for it are told from others. Reads its config only; no torch."""

from __future__ import annotations

import json

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.model_source import ModelSource

_LARGEST = 2**20
"""Bytes of a config."""
PUBLISHED_WIDTH = 3840
"""Of the published Z-Image models, whose weights may come without a config."""


def transformer_width(source: ModelSource) -> int | None:
    """The number of channels; None where the config can't be read, which loading the model will complain of."""
    config = source.places.transformer.config
    if config is None:
        return PUBLISHED_WIDTH
    try:
        width = json.loads(read_regular(config, _LARGEST)).get("dim", PUBLISHED_WIDTH)
    except (OSError, ValueError, AttributeError):
        return None
    return width if isinstance(width, int) else None
