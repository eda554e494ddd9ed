"""Reads untrusted JSON of bounded size: in memory, a parsed ``[],`` takes twenty times its length."""

from __future__ import annotations

import json
from typing import Any

MAX_VALUES = 200_000
"""A workflow of a thousand nodes has about fifty thousand."""
MAX_KEYS = 2000
"""Keys of a request or record, which has a few hundred. pydantic keeps an error of some kB for each unknown key."""


class TooMuchJson(ValueError):
    """The JSON has more values than the limit."""


def values_in(text: str) -> int:
    """An upper bound of the number of values in JSON text."""
    return 1 + text.count(",") + text.count("[") + text.count("{")


def read_json(text: str, max_values: int = MAX_VALUES) -> Any:
    """Parse JSON of at most ``max_values`` values.

    Raises:
        TooMuchJson: it has more than ``max_values`` values.
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    if values_in(text) > max_values:
        raise TooMuchJson(f"more than {max_values} values")
    return json.loads(text)


def keys_in(data: object) -> int:
    """The number of keys of all mappings in nested plain data."""
    keys = 0
    waiting = [data]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            keys += len(at)
            waiting += at.values()
        elif isinstance(at, list | tuple):
            waiting += at
    return keys
