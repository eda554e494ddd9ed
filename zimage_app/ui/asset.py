"""The text files that belong to the page: markup, scripts, styles. Knows nothing of what is in them."""

from __future__ import annotations

from importlib import resources


def asset(name: str) -> str:
    """One of them, by its name under ``assets/``."""
    return resources.files("zimage_app.ui").joinpath("assets", name).read_text("utf-8")
