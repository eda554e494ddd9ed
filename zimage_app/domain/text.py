"""A sentence for users, in the two languages that the app speaks. Knows nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


def language_named(name: object) -> Language:
    """The language that a browser, a system or a page calls so: ``zh-CN``, ``zh_CN.UTF-8``, ``Chinese``, ``en-GB``."""
    return "zh" if str(name).lower().startswith(("zh", "chinese")) else "en"


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
