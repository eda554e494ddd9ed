"""The result of a check: ok, warning or problem, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zimage_app.domain.text import Text

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    level: Level
    about: Text
    """What was checked."""
    text: Text
    """The result; for a warning or a problem, also how to fix it."""


def make_finding(level: Level, about: Text, en: str, zh: str) -> Finding:
    """Make a finding with a result in both languages."""
    return Finding(level, about, Text(en, zh))
