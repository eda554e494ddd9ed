"""Reads this app's own settings: a picture's record, or a request as JSON. Nothing is translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import Imported, taken_lines

THIS_APP = Text("Z-Image Progressive Studio", "Z-Image Progressive Studio")


def read_studio(text: str) -> Imported:
    """Read the record inside a picture; raises StorageError if it is invalid or of a newer version."""
    record = ImageRecord.from_json(text)
    return _imported(record.request, record.model)


def read_request(data: Mapping[str, Any], model: str = "") -> Imported:
    """A request as plain data; raises RequestError for invalid values."""
    return _imported(parse_request(data), model)


def _imported(request: GenerationRequest, model: str) -> Imported:
    settings = request.model_dump(mode="json", exclude_unset=True)
    return Imported(THIS_APP, settings, model, tuple(taken_lines(settings, model)), (), (), exact=True)
