"""Reads this app's own settings: a picture's record, a request as JSON, or what ``import --json`` printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import request_error
from zimage_app.service.imports.draft import Imported, NamedStartPicture, taken_lines

THIS_APP = Text("Z-Image Progressive Studio", "Z-Image Progressive Studio")
_START: TypeAdapter[NamedStartPicture | None] = TypeAdapter(NamedStartPicture | None)
_NO_PROMPT = "-"
"""Stands for the prompt while settings without one are checked."""


def read_studio(text: str) -> Imported:
    """Read the record inside a picture; raises StorageError if it is invalid or of a newer version."""
    record = ImageRecord.from_json(text)
    return _imported(record.request, record.model)


def read_request(data: Mapping[str, Any], model: str = "") -> Imported:
    """A request as plain data; raises RequestError for invalid values."""
    return _imported(parse_request(data), model)


def is_import(data: Mapping[str, Any]) -> bool:
    """Whether plain data is what ``import --json`` printed."""
    return isinstance(data.get("settings"), dict) and {"source", "exact", "model", "taken", "left"} <= set(data)


def read_import(data: Mapping[str, Any]) -> Imported:
    """What ``import --json`` printed, with the start picture that the file only names.

    Raises RequestError for invalid values.
    """
    settings = data["settings"]
    try:
        start = _START.validate_python(data.get("start"))
    except ValidationError as error:
        raise request_error(error, data).at("start") from error
    request = parse_request({"prompt": _NO_PROMPT, **settings})
    found = _imported(request, str(data["model"] or ""))
    return replace(found, settings=settings, start=start)


def _imported(request: GenerationRequest, model: str) -> Imported:
    settings = request.model_dump(mode="json", exclude_unset=True)
    return Imported(THIS_APP, settings, model, tuple(taken_lines(settings, model)), (), (), exact=True)
