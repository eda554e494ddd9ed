"""JSON of strangers, read only where it can't fill the memory: in it ``[],`` becomes twenty times as long."""

from __future__ import annotations

import json
from typing import Any

MAX_VALUES = 200_000
"""A workflow of a thousand nodes has about fifty thousand."""
MAX_KEYS = 2000
"""Of a request or a record, which has some hundreds. pydantic keeps a finding of some kB for each that is unknown."""


class TooMuchJson(ValueError):
    """It has more values than are read."""


def values_in(text: str) -> int:
    """How many values JSON holds at most."""
    return 1 + text.count(",") + text.count("[") + text.count("{")


def read_json(text: str, most: int = MAX_VALUES) -> Any:
    """What JSON says.

    Raises:
        TooMuchJson: it has more than ``most`` values.
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    if values_in(text) > most:
        raise TooMuchJson(f"more than {most} values")
    return json.loads(text)


def keys_in(data: object) -> int:
    """How many keys all mappings in plain data have together."""
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
