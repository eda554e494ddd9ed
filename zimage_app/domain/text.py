"""A sentence for users, in the two languages that the app speaks. Knows nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in English and in Chinese."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        return self.zh if language == "zh" else self.en

    def __str__(self) -> str:
        return self.en
