"""The hidden size of a model's transformer, for checking whether LoRAs fit. Reads only its config; no torch."""

from __future__ import annotations

import json

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.model_source import ModelSource

_MAX_CONFIG = 2**20
"""Bytes of a config."""
PUBLISHED_WIDTH = 3840
"""Hidden size of the published Z-Image models, whose weights may come without a config."""


def transformer_width(source: ModelSource) -> int | None:
    """The transformer's hidden size; None where the config can't be read, which loading the model reports."""
    config = source.places.transformer.config
    if config is None:
        return PUBLISHED_WIDTH
    try:
        width = json.loads(read_regular(config, _MAX_CONFIG)).get("dim", PUBLISHED_WIDTH)
    except (OSError, ValueError, AttributeError):
        return None
    return width if isinstance(width, int) else None
