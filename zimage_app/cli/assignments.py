"""``--set stages.1.denoise=0.6``: sets any setting by its path."""

from __future__ import annotations

import argparse
from typing import Any

from zimage_app.domain.errors import RequestError
from zimage_app.domain.setting_paths import plain_value, put
from zimage_app.domain.text import Text


def add_set_flag(parser: argparse.ArgumentParser, about: str) -> None:
    """Add ``--set``; ``about`` is its help."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help=about)


def assign(data: dict[str, Any], assignment: str) -> None:
    """Apply ``NAME=VALUE`` to a request's plain data.

    Raises:
        RequestError: the ``=`` is missing, or the path leads nowhere.
    """
    path, equals, value = assignment.partition("=")
    if not equals:
        raise RequestError("--set", Text(f"{assignment}: write NAME=VALUE", f"{assignment}：请写成 NAME=VALUE"))
    put(data, path.strip(), plain_value(value.strip()))
