"""Negative prompts as lists of short phrases: joining without duplicates, and splitting. No file access.

Phrases are joined with full-width commas where there is Chinese, as users of these models write them, else with commas
and spaces; text that users typed stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zimage_app.domain.guidance import negative_acts
from zimage_app.domain.plan import running_stages
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import Nag
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text, folded

SEPARATORS = ",，、;；\n"
"""Characters that end a phrase; a phrase can't contain any of them."""
_HAN = re.compile("[\u3400-\u9fff]")
_PIECE = re.compile(f"[^{SEPARATORS}]+")


@dataclass(frozen=True, slots=True)
class NegativeEntry:
    """One phrase of the library. Its Chinese text is unique and serves as its name."""

    text: str
    """The text that is added to the negative prompt."""
    meaning: str = ""
    """English translation."""
    when: Text | None = None
    """When the phrase helps."""

    def matches(self, search: str) -> bool:
        """Whether every word of ``search`` occurs in the entry, in either language."""
        when = (self.when.en, self.when.zh) if self.when else ()
        haystack = folded("\n".join((self.text, self.meaning, *when)))
        return all(word in haystack for word in folded(search).split())


@dataclass(frozen=True, slots=True)
class NegativeCategory:
    """The entries of one file."""

    name: str
    """The file's name without its suffix."""
    title: Text
    entries: tuple[NegativeEntry, ...] = ()
    problem: Text | None = None
    """Why the file can't be read; ``entries`` is then empty."""


def phrases(text: str) -> tuple[str, ...]:
    """Split a negative prompt into its phrases, in order."""
    return tuple(piece[0].strip() for piece in _PIECE.finditer(text) if piece[0].strip())


def holds_phrase(text: str, phrase: str) -> bool:
    """Whether ``phrase`` is one of the phrases of ``text``; both are compared ``folded``."""
    return folded(phrase) in map(folded, phrases(text))


def combine(chosen: Iterable[str], text: str = "") -> str:
    """Append to ``text`` the chosen phrases that it doesn't contain yet, each once, in order."""
    for phrase in chosen:
        if phrase.strip() and not holds_phrase(text, phrase):
            kept = text.rstrip().rstrip(SEPARATORS).rstrip()
            text = joined(kept, phrase.strip())
    return text


def joined(one: str, other: str) -> str:
    """Join two texts with the comma of their language; either may be empty."""
    return ("，" if _HAN.search(one + other) else ", ").join(filter(None, (one, other)))


def without_phrase(text: str, phrase: str) -> str:
    """Remove every occurrence of ``phrase`` with the separator before it (after it, where the text begins with it)."""
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
    """Remove ``phrase`` from ``text`` if it is there, else append it."""
    return without_phrase(text, phrase) if holds_phrase(text, phrase) else combine([phrase], text)


@dataclass(frozen=True, slots=True)
class NagNeed:
    """The stages that need NAG for the negative prompt to have an effect, and what NAG costs there."""

    stages: tuple[int, ...]
    """Numbers (from 0) of the running stages where the negative prompt has no effect."""
    extra: float
    """Rough extra time of the whole run with NAG in those stages, as a fraction of the time without."""


def with_nag(request: GenerationRequest) -> GenerationRequest:
    """The request with NAG switched on in each running stage where the negative prompt has no effect."""
    found = nag_need(request.running)
    if found is None:
        return request
    stages = tuple(
        stage.model_copy(update={"nag": Nag()}) if number in found.stages else stage
        for number, stage in enumerate(request.stages or ())
    )
    return request.model_copy(update={"stages": stages})


def nag_need(stages: Iterable[tuple[int, Stage]]) -> NagNeed | None:
    """The stages that need NAG, out of the running (number, stage) pairs; None where the negative prompt acts in all.

    Raises:
        RequestError: the stages can't be run.
    """
    running = list(stages)
    idle = {number: stage.model_copy(update={"nag": Nag()}) for number, stage in running if not negative_acts(stage)}
    if not idle:
        return None
    after = [(number, idle.get(number, stage)) for number, stage in running]
    return NagNeed(tuple(idle), _cost(after) / _cost(running) - 1.0)


def _cost(stages: Iterable[tuple[int, Stage]]) -> float:
    return sum(stage.cost for stage in running_stages(stages))
