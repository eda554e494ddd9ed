"""The words that a small model was trained on; finds the words of a prompt that are not among them. Pure.

Chinese text is split by longest match with the list of words; characters without a match are unseen words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_app.domain.text import Remark, Text

_HAN = "\u3400-\u9fff"
_RUNS = re.compile(rf"[{_HAN}]+|[A-Za-z]+(?:'[a-z]+)?")
_STOP_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of and or with without in on at by to from for as is are it its this that these those there near over"
        " under behind before between beside through into onto out up down my your his her our some any very more most"
        " please draw paint picture image photo",
    )
)
"""English words that are ignored."""
_STOP_CHARACTERS = frozenset(
    "的了着在和与及或是有里中上下边旁前后内外处把让给请画一个只这那其之为很更最都也坐站跳飞走跑看"
)
_MAX_SHOWN = 6
"""Maximum number of unseen words in a message."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary of a model's training captions."""

    words: frozenset[str]
    """English in lower case; Chinese words and single characters."""
    things: Text
    """What the model can draw, for messages."""

    def unseen(self, prompt: str) -> tuple[str, ...]:
        """The words of a prompt that no caption held, each once, in their order."""
        found = (word for run in _RUNS.findall(prompt) for word in self._unseen_in(run))
        return tuple(dict.fromkeys(found))

    def remark(self, prompt: str) -> Remark | None:
        """Return a message about a prompt's unseen words; None if there are none."""
        unseen = self.unseen(prompt)
        if not unseen:
            return None
        more = " …" if len(unseen) > _MAX_SHOWN else ""
        named = unseen[:_MAX_SHOWN]
        return Remark(
            f"This model has never seen {', '.join(named)}{more}. It knows {self.things.en}.",
            f"这个模型没有学过：{'、'.join(named)}{more}。它只会画：{self.things.zh}。",
            "prompt",
        )

    def _unseen_in(self, run: str) -> Iterator[str]:
        if run[0].isascii():
            word = run.lower()
            if not (word in _STOP_WORDS or self.words.intersection(_singulars(word))):
                yield word
            return
        yield from self._unseen_han(run)

    def _unseen_han(self, run: str) -> Iterator[str]:
        """Yield unseen Chinese words; an unseen character is joined to a known single character before it (海豚)."""
        word, before, place = "", "", 0
        while place < len(run):
            fits = self._longest(run, place)
            if not fits:
                word = (word or before) + run[place]
            elif word:
                yield word
                word = ""
            before = fits if len(fits) == 1 and fits not in _STOP_CHARACTERS else ""
            place += max(1, len(fits))
        if word:
            yield word

    def _longest(self, run: str, place: int) -> str:
        lengths = range(min(len(run) - place, 8), 0, -1)
        pieces = (run[place : place + length] for length in lengths)
        return next((piece for piece in pieces if piece in self.words or piece in _STOP_CHARACTERS), "")


def _singulars(word: str) -> Iterator[str]:
    yield word
    for ending, instead in (("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + instead
