"""Reads the page's HTML, JavaScript and CSS files, which lie in the folders of their features."""

from __future__ import annotations

from pathlib import Path


def asset(name: str) -> str:
    """Return the text of the file with this name, which must be unique below ``ui``."""
    (path,) = Path(__file__).parent.rglob(name)
    return path.read_text("utf-8")
