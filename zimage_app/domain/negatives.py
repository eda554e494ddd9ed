"""Negative prompts as lists of short phrases: put together without doubles, taken apart again. Knows no files.

Users of these models write such a list with full-width commas, and what they typed themselves stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from zimage_app.domain.guidance import negative_acts
from zimage_app.domain.plan import running_stages
from zimage_app.domain.request import GenerationRequest, Nag, Stage
from zimage_app.domain.text import Text

SEPARATORS = ",，、;；\n"
"""Each of them ends a phrase, so that none may stand inside one."""
_JOINT = "，"
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


@dataclass(frozen=True, slots=True)
class Help:
    """What gives a negative prompt an effect where it has none: NAG."""

    stages: tuple[int, ...]
    """Running stages in which it has none, from 0."""
    extra: float
    """How much longer the whole run takes with it, roughly, as a part of what it takes without."""


def with_nag(request: GenerationRequest) -> GenerationRequest:
    """The request, whose negative prompt has an effect in all running stages."""
    found = helped(request.running)
    if found is None:
        return request
    stages = tuple(
        stage.model_copy(update={"nag": Nag()}) if number in found.stages else stage
        for number, stage in enumerate(request.stages or ())
    )
    return request.model_copy(update={"stages": stages})


def helped(stages: Iterable[tuple[int, Stage]]) -> Help | None:
    """How a negative prompt gets an effect in all running ``stages`` (by their numbers); None where it has one.

    Raises:
        RequestError: the stages can't be run.
    """
    running = list(stages)
    idle = {number: stage.model_copy(update={"nag": Nag()}) for number, stage in running if not negative_acts(stage)}
    if not idle:
        return None
    after = [(number, idle.get(number, stage)) for number, stage in running]
    return Help(tuple(idle), _cost(after) / _cost(running) - 1.0)


def _cost(stages: Iterable[tuple[int, Stage]]) -> float:
    return sum(stage.cost for stage in running_stages(stages))
