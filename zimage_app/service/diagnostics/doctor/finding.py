"""What a look at one thing came to: fine, worth a word, or in the way, and then what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zimage_app.domain.text import Text

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    level: Level
    about: Text
    """What was looked at."""
    text: Text
    """What was found; for a warning or a problem with the cure."""
