"""The text files that belong to the page: markup, scripts, styles, each in its feature's folder."""

from __future__ import annotations

from pathlib import Path


def asset(name: str) -> str:
    """The text of one of them by its file name, which no two features share."""
    (path,) = Path(__file__).parent.rglob(name)
    return path.read_text("utf-8")
