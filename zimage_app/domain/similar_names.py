"""Finds the names that a misspelt one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from zimage_app.domain.text import Text, folded


def similar_names(name: str, known: Iterable[str], most: int = 5) -> list[str]:
    """Return at most ``most`` known names: those spelt similarly, best first, then those that contain ``name``."""
    by_folded = {folded(each): each for each in reversed([*known])}
    wanted = folded(name)
    near = difflib.get_close_matches(wanted, by_folded, n=most, cutoff=0.5)
    near += [each for each in by_folded if len(wanted) > 1 and wanted in each]
    return [by_folded[each] for each in dict.fromkeys(near)][:most]


def meant(name: str, known: Iterable[str]) -> Text:
    """The end of a sentence that asks whether one or two similar names are meant; empty where none is similar."""
    near = similar_names(name, known, 2)
    return Text(f"; did you mean {' or '.join(near)}?", f"；是否指 {' 或 '.join(near)}？") if near else Text("", "")
