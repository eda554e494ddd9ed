"""A sentence for users, in the languages that the app speaks. Knows nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from zimage_app.domain.traditional import traditional

Language = Literal["en", "zh", "zh-Hant"]
_TRADITIONAL = re.compile(
    r"(zh|chinese)\b(?!.*(hans|simplified)).*(hant|tw|hk|mo|taiwan|hong kong|macao|traditional)", re.IGNORECASE
)


def language_named(name: object) -> Language:
    """The language that a browser, a system or a page calls so: ``zh-CN``, ``zh_TW.UTF-8``, ``Chinese``, ``en-GB``.

    Of a list, as in ``zh-TW,zh;q=0.9,en``, the first counts.
    """
    first = str(name).partition(",")[0].strip().replace("_", "-")
    if not first.lower().startswith(("zh", "chinese")):
        return "en"
    return "zh-Hant" if _TRADITIONAL.match(first) else "zh"


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in English and in simplified Chinese, from which the traditional one is made."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        if language == "zh-Hant":
            return traditional(self.zh, self.en)
        return self.zh if language == "zh" else self.en

    def __str__(self) -> str:
        return self.en
