"""The results that commands print on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PIPE_WIDTH = 200
"""Columns of a table where the output is not a terminal."""


def print_table(titles: Iterable[str], rows: Iterable[Sequence[str]], *, first_whole: bool = False) -> None:
    """Print rows under bold titles. Long cells are folded; with ``first_whole``, those of the first column are not."""
    table = Table(*map(escape, titles), box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = first_whole
    for row in rows:
        table.add_row(*map(escape, row))
    # Without emoji, because a prompt may hold ":smile:".
    console = Console(emoji=False)
    (console if console.is_terminal else Console(width=_PIPE_WIDTH, emoji=False)).print(table)


def print_json(data: Any) -> None:
    """Print plain data as indented JSON."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=1) + "\n")
