"""Sentences for users in the app's languages, escaping of characters that are unsafe to show, and comparing texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from zimage_app.domain.traditional import traditional

Language = Literal["en", "zh", "zh-Hant"]
_TRADITIONAL = re.compile(
    r"(zh|chinese)\b(?!.*(hans|simplified)).*(hant|tw|hk|mo|taiwan|hong kong|macao|traditional)", re.IGNORECASE
)
_COMMANDS = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_HIDDEN = re.compile(rf"[{_COMMANDS}\x00-\x08\x0b-\x1f]")
_UNPRINTABLE = re.compile(rf"[{_COMMANDS}]")


def visible(text: str, *, escapes: bool = False) -> str:
    """Escape control characters, line separators and bidirectional marks, as in ``\\u009b``.

    Line feed and tab stay. With ``escapes``, all characters below U+0020 stay, for text with ANSI colours.
    """
    return (_UNPRINTABLE if escapes else _HIDDEN).sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shortened(text: str, length: int) -> str:
    """The text on one line, cut to ``length`` characters with an ellipsis as the last."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def normalised(text: str, form: Literal["NFC", "NFKC"]) -> str:
    """The text in a Unicode normal form, in linear time: runs of more than 30 combining marks are taken in pieces.

    Python sorts such a run in quadratic time, with the interpreter's lock held. No language needs longer ones (Unicode
    Standard Annex 15, Stream-Safe Text Format).
    """
    return "".join(unicodedata.normalize(form, piece) for piece in _pieces(text))


def folded(text: str) -> str:
    """Normalise case, full and half width, and runs of white space, for comparison."""
    return " ".join(normalised(text, "NFKC").casefold().split())


_MAX_MARKS = 30


def _pieces(text: str) -> Iterator[str]:
    start = marks = 0
    for at, letter in enumerate(text):
        marks = marks + 1 if _is_mark(letter) else 0
        if marks > _MAX_MARKS:
            yield text[start:at]
            start, marks = at, 1
    yield text[start:]


@lru_cache(4096)
def _is_mark(letter: str) -> bool:
    """Whether the letter is combined with the one before it, once it is decomposed."""
    return unicodedata.combining(unicodedata.normalize("NFKD", letter)[0]) > 0


def language_named(name: object) -> Language:
    """The language for a name from a browser, a system or a page: ``zh-CN``, ``zh_TW.UTF-8``, ``Chinese``, ``en-GB``.

    In a list, as in ``zh-TW,zh;q=0.9,en``, the first entry counts.
    """
    first = str(name).partition(",")[0].strip().replace("_", "-")
    if not first.lower().startswith(("zh", "chinese")):
        return "en"
    return "zh-Hant" if _TRADITIONAL.match(first) else "zh"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in English and in simplified Chinese, from which the traditional Chinese one is converted.

    The Chinese may be missing while a text is being written, and English is shown then; ``tools/release.py`` lists
    such texts and makes no release with them.
    """

    en: str
    zh: str = ""

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        if language == "en" or not self.zh:
            return self.en
        return self.zh if language == "zh" else traditional(self.zh, self.en)

    def __str__(self) -> str:
        return self.en


@dataclass(frozen=True, slots=True)
class Remark(Text):
    """A sentence about one field of a request."""

    field: str = ""
    """The field's name in the request; ``size`` for the stages' sizes."""


def listed(names: Sequence[str], most: int) -> str:
    """The first ``most`` names in one line, with "…" where there are more."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)
