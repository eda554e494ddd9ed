"""Values of strangers' flat data, as they are meant: numbers that are written as texts, texts, lists."""

from __future__ import annotations

from typing import Any


def number(value: object) -> Any:
    """A number, also where it is written as text; else the value, for the request's check to judge."""
    if isinstance(value, str):
        for read in (int, float):
            try:
                return read(value.strip()[:40])
            except ValueError:
                continue
    return value


def text_of(value: object) -> str | None:
    """A text that says something."""
    return value.strip() if isinstance(value, str) and value.strip() else None


def list_of(value: object) -> list[Any]:
    """A list; empty for anything else."""
    return value if isinstance(value, list) else []


def between(value: object, low: float, high: float) -> bool:
    """Whether a value is a number within bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def words(text: str) -> frozenset[str]:
    """Names that are written one behind the other."""
    return frozenset(text.split())
