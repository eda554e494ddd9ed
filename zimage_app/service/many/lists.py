"""The lists in a request's plain data, which the short keys of a batch and the axes of a grid add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import RequestError
from zimage_app.domain.sizes import sized_data
from zimage_app.domain.text import Text

_LISTS = ("triggers", "loras", "stages")

Data = dict[str, Any]


def without_nulls(data: Mapping[str, Any]) -> Data:
    """Return the data without lists that are null, which other programs write for omitted lists."""
    return {name: value for name, value in data.items() if not (value is None and name in _LISTS)}


def with_more(data: Mapping[str, Any], name: str, more: object) -> Data:
    """Return the data with one more entry in the list ``name``; raises RequestError if that is no list."""
    given = data.get(name)
    return {**data, name: [*([] if given is None else _list(name, given)), more]}


def with_size(data: Mapping[str, Any], size: object) -> Data:
    """Return the data with its stages resized, see ``sized_data``; raises RequestError if they are no stages."""
    return {**data, "stages": sized_data(_list("stages", data.get("stages")), str(size))}


def _list(name: str, value: object) -> list[Any]:
    if isinstance(value, list | tuple) and (value or name != "stages"):
        return list(value)
    empty = isinstance(value, list | tuple)
    raise RequestError(name, Text("must not be empty", "不能为空") if empty else Text("must be a list", "必须是列表"))
