"""Page values in tests, those of a stage by their path: ``stages.0.easycache.threshold``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a path."""
    if not path.startswith("stages."):
        return values[path]
    _, number, name = path.split(".", 2)
    return values["stages"][int(number)][name]


def with_values(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of page values in which those at some paths are others."""
    changed = dict(values)
    for path, value in changes.items():
        if not path.startswith("stages."):
            changed[path] = value
            continue
        _, number, name = path.split(".", 2)
        stages = list(changed["stages"])
        stages[int(number)] = stages[int(number)] | {name: value}
        changed["stages"] = stages
    return changed
