"""Negative prompts as lists of short phrases: put together without doubles, taken apart again. Knows no files.

Users of these models write such a list with full-width commas, and what they typed themselves stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from zimage_app.domain.card import ModelCard
from zimage_app.domain.plan import is_guided_by_one
from zimage_app.domain.request import Stage
from zimage_app.domain.text import Text

SEPARATORS = ",，、;；\n"
"""Each of them ends a phrase, so that none may stand inside one."""
_JOINT = "，"
_PLAIN_CFG = 2.0
"""The reference workflow's first stage's (workflow.md section 1), for a model whose card says nothing of CFG."""
_PIECE = re.compile(f"[^{SEPARATORS}]+")


@dataclass(frozen=True, slots=True)
class NegativeEntry:
    """One phrase of the library. Its Chinese text is also its name: there is only one of each."""

    text: str
    """What goes into the negative prompt."""
    meaning: str = ""
    """In English."""
    when: Text | None = None
    """When it helps."""

    def matches(self, search: str) -> bool:
        """Whether every word of ``search`` stands somewhere in it, in either language."""
        when = (self.when.en, self.when.zh) if self.when else ()
        haystack = folded("\n".join((self.text, self.meaning, *when)))
        return all(word in haystack for word in folded(search).split())


@dataclass(frozen=True, slots=True)
class NegativeCategory:
    """The entries of one file."""

    name: str
    """The file's, without its ending."""
    title: Text
    entries: tuple[NegativeEntry, ...] = ()
    problem: Text | None = None
    """Why the file can't be read; then there are no entries."""


def folded(text: str) -> str:
    """Without the difference between upper and lower case, full and half width, one space and several."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a negative prompt, in their order."""
    return tuple(piece[0].strip() for piece in _PIECE.finditer(text) if piece[0].strip())


def holds_phrase(text: str, phrase: str) -> bool:
    """Whether a phrase stands in a negative prompt as one of its own, however it is written."""
    return folded(phrase) in map(folded, phrases(text))


def combine(chosen: Iterable[str], text: str = "") -> str:
    """``text`` as it was typed, then the chosen phrases that it doesn't hold yet, each once, in their order."""
    for phrase in chosen:
        if phrase.strip() and not holds_phrase(text, phrase):
            kept = text.rstrip().rstrip(SEPARATORS).rstrip()
            text = f"{kept}{_JOINT}{phrase.strip()}" if kept else phrase.strip()
    return text


def without_phrase(text: str, phrase: str) -> str:
    """A negative prompt without a phrase: every place of it is taken out, with the separator before it."""
    unwanted = folded(phrase)
    for piece in reversed(list(_PIECE.finditer(text))):
        if folded(piece[0]) != unwanted:
            continue
        start, end = piece.span()
        before = text[:start].rstrip()
        if before[-1:] and before[-1] in SEPARATORS:
            start = len(before) - 1
        elif text[end : end + 1]:
            end += 1 + len(text[end + 1 :]) - len(text[end + 1 :].lstrip(" "))
        text = text[:start] + text[end:]
    return text


def toggled(text: str, phrase: str) -> str:
    """A negative prompt with the phrase if it wasn't there, without it if it was."""
    return without_phrase(text, phrase) if holds_phrase(text, phrase) else combine([phrase], text)


def guiding_stage(stages: tuple[Stage, ...], card: ModelCard) -> tuple[int, float] | None:
    """Which stage (from 0), with which CFG, would give a negative prompt an effect; None where it has one.

    It is the first stage that runs, which lays the picture out: with the CFG that the model's card gives its own first
    stage with guidance, else with the highest one that suits the model, if that is not 1 too.
    """
    active = [number for number, stage in enumerate(stages) if stage.enabled]
    if not active or not all(is_guided_by_one(stages[number].cfg) for number in active):
        return None
    guided = [stage.cfg for stage in card.stages if stage.enabled and not is_guided_by_one(stage.cfg)]
    highest = card.limits.cfg.high if card.limits else _PLAIN_CFG
    cfg = next(iter(guided), highest)
    return None if is_guided_by_one(cfg) else (active[0], cfg)
