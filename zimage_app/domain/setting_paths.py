"""Sets values in a request's plain data by dotted path, as in ``stages.1.denoise``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage
from zimage_app.domain.text import Text

MAX_DIGITS = 100
"""Digits of an index; Python refuses to parse numbers with thousands of digits."""


def plain_value(text: str) -> Any:
    """Parse ``text`` as JSON (numbers, true, null, lists); other text is returned unchanged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def is_text(path: str) -> bool:
    """Whether the setting at a path, as in ``negative`` or ``stages.1.sampler``, is plain text."""
    *parents, field = path.split(".")
    fields = {0: GenerationRequest.model_fields, 2: Stage.model_fields}.get(len(parents), {})
    known = fields.get(field)
    return known is not None and known.annotation is str


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at ``path``; the request's validation refuses an unknown last name.

    Raises:
        RequestError: the path leads to a stage that does not exist, or through a value without settings.
    """
    *parents, last = path.split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        place = _step_into(place, part, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    else:
        place[last] = value


def _step_into(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        child = place[_index(place, part, path)]
    else:
        child = place.get(part)
        if child is None and part in STAGE_GROUPS:
            child = place[part] = {}
    if not isinstance(child, Mapping | list):
        raise RequestError(path, Text("there is no such setting", "没有这个设置"))
    return child


def _index(entries: list[Any], part: str, path: str) -> int:
    """The number of an entry that there is; raises RequestError for another one."""
    if part.isdecimal() and len(part) <= MAX_DIGITS and int(part) < len(entries):
        return int(part)
    if not entries:
        raise RequestError(
            path, Text("the list is empty; set the whole list, as JSON", "列表为空；请以 JSON 设置整个列表")
        )
    have = f"0…{len(entries) - 1}"
    raise RequestError(path, Text(f"there is no entry {part}; there are {have}", f"没有第 {part} 项；可用 {have}"))
