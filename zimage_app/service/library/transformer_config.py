"""Numbers of a model's transformer that pages show before it is loaded. Reads only its config; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.model_source import ModelSource

_MAX_CONFIG = 2**20
"""Bytes of a config."""
_PUBLISHED_WIDTH = 3840
_PUBLISHED_POSITIONS = 1536
"""Values of the published Z-Image models, whose weights may come without a config."""


def transformer_width(source: ModelSource) -> int | None:
    """The transformer's hidden size; None where the config can't be read, which loading the model reports."""
    return _number(source, lambda config: config.get("dim", _PUBLISHED_WIDTH), _PUBLISHED_WIDTH)


def text_positions(source: ModelSource) -> int | None:
    """The transformer's number of text positions; None where its config can't be read."""
    return _number(source, lambda config: config["axes_lens"][0], _PUBLISHED_POSITIONS)


def _number(source: ModelSource, found_in: Callable[[Any], object], published: int) -> int | None:
    path = source.places.transformer.config
    if path is None:
        return published
    try:
        number = found_in(json.loads(read_regular(path, _MAX_CONFIG)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return number if isinstance(number, int) else None
