"""Converts values of other programs' flat data: numbers written as text, texts, lists."""

from __future__ import annotations

from typing import Any


def number(value: object) -> Any:
    """Return a number, also from text; return any other value unchanged, for the request's validation."""
    if isinstance(value, str):
        for read in (int, float):
            try:
                return read(value.strip()[:40])
            except ValueError:
                continue
    return value


def text_of(value: object) -> str | None:
    """Return a stripped text; None if the value isn't a text or is blank."""
    return value.strip() if isinstance(value, str) and value.strip() else None


def list_of(value: object) -> list[Any]:
    """Return the value if it is a list, otherwise an empty list."""
    return value if isinstance(value, list) else []


def between(value: object, low: float, high: float) -> bool:
    """Whether the value is a number within ``low`` and ``high``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def words(text: str) -> frozenset[str]:
    """Split a text of names separated by spaces."""
    return frozenset(text.split())
