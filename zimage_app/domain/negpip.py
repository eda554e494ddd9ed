"""Phrases to subtract, as NegPiP reads them: ``(text:-1)`` in a prompt, and the parts of a negative prompt. Pure.

The syntax and the remaining text match comfyui-negpip-zimage 2.1.1, so that both give the same result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Possessive quantifiers ("*+", "++") and the lookbehinds for spaces prevent quadratic time on texts of many digits or
# spaces.
_NUMBER = r"(?:\d{1,9}+(?:\.\d++)?|\.\d++)"
_NEGATIVE = re.compile(rf"(?<!\\)[(（]([^()（）]*[^()（）\d\s])[:：]\s*+-({_NUMBER})\s*+[)）]")
"""``(text:-1)``, but not a score such as ``(2:-1)``."""
_TOKEN = re.compile(rf"(\\.)|([(（])|(?:[:：]\s*+-?({_NUMBER})\s*+)?([)）])|([^\\()（）:：]+|.)", re.DOTALL)
_ENDING = re.compile(rf"(?<!\s)\s*+[:：]\s*+-?({_NUMBER})\s*+$")
_LINES = re.compile(r"(?:,|(?<![^\S\n]))[^\S\n]*+\n\s*+")
_SEPARATORS = ",，、;；"
_BRACKETS = 1.1
"""Weight of a pair of brackets without a number."""
_MAX_DEPTH = 32
"""Maximum nesting of brackets; deeper ones are plain text. Each level multiplies the weights inside it."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that NegPiP subtracts from the prompt."""

    text: str
    weight: float
    """Negative number."""


def subtracted(prompt: str, negative: str = "", weight: float = 1.0) -> tuple[str, tuple[Phrase, ...]]:
    """The text for the text encoder, and the phrases to subtract; those of the negative prompt come last.

    ``weight`` multiplies the negative prompt's own weights; at 0 the negative prompt is ignored. A space replaces
    each phrase, and commas stay where they were.
    """
    text = _one_line(prompt)
    phrases = [Phrase(found[1], -float(found[2])) for found in _NEGATIVE.finditer(text)]
    text = _NEGATIVE.sub(" ", text)
    parts = list(_parts(_one_line(negative))) if weight else []
    if parts:
        joint = "" if not text else " " if text.endswith(".") else ", "
        text += joint + ", ".join(" " for _ in parts)
        phrases += [Phrase(part, -weight * strength) for part, strength in parts]
    return text, tuple(phrase for phrase in phrases if phrase.weight)


def _one_line(text: str) -> str:
    return _LINES.sub(", ", text.strip())


def _parts(text: str) -> Iterator[tuple[str, float]]:
    """Split a negative prompt at its brackets into (phrase, weight) pairs; weights have two significant digits."""
    pieces: list[tuple[str, float]] = []
    opened: list[int] = []
    plain = ""
    for escaped, opening, number, closing, other in (found.groups() for found in _TOKEN.finditer(text)):
        if opening and len(opened) < _MAX_DEPTH:
            pieces.append((plain, 1.0))
            opened.append(len(pieces))
            plain = ""
        elif closing and opened:
            pieces.append((plain, 1.0))
            factor = float(number) if number else _BRACKETS
            start = opened.pop()
            pieces[start:] = [(piece, weight * factor) for piece, weight in pieces[start:]]
            plain = ""
        else:
            plain += escaped or other or closing or opening
    for piece, weight in [*pieces, (plain, 1.0)]:
        ending = _ENDING.search(piece)
        factor = float(ending[1]) if ending else 1.0
        phrase = _ENDING.sub("", piece).strip().strip(_SEPARATORS).strip()
        if phrase:
            yield phrase, float(f"{weight * factor:.2g}")
