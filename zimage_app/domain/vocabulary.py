"""Which words a small model was trained on, and which of a prompt it has never seen. Pure.

Chinese is cut by the longest word of the list that fits; what none fits is an unseen word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_app.domain.text import Remark, Text

_HAN = "\u3400-\u9fff"
_RUNS = re.compile(rf"[{_HAN}]+|[A-Za-z]+(?:'[a-z]+)?")
_LITTLE = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of and or with without in on at by to from for as is are it its this that these those there near over"
        " under behind before between beside through into onto out up down my your his her our some any very more most"
        " please draw paint picture image photo",
    )
)
"""English words that name nothing."""
_LITTLE_HAN = frozenset("的了着在和与及或是有里中上下边旁前后内外处把让给请画一个只这那其之为很更最都也坐站跳飞走跑看")
_MOST = 6
"""Words that are named."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a model's captions were made of."""

    words: frozenset[str]
    """English in lower case; Chinese words and single characters."""
    things: Text
    """What it can draw, for the reader."""

    def unseen(self, prompt: str) -> tuple[str, ...]:
        """The words of a prompt that no caption held, each once, in their order."""
        found = (word for run in _RUNS.findall(prompt) for word in self._unseen_in(run))
        return tuple(dict.fromkeys(found))

    def remark(self, prompt: str) -> Remark | None:
        """What to say of a prompt's unseen words; None where there is none."""
        unseen = self.unseen(prompt)
        if not unseen:
            return None
        more = " …" if len(unseen) > _MOST else ""
        named = unseen[:_MOST]
        return Remark(
            f"This model has never seen {', '.join(named)}{more}. It knows {self.things.en}.",
            f"这个模型没有学过：{'、'.join(named)}{more}。它只会画：{self.things.zh}。",
            "prompt",
        )

    def _unseen_in(self, run: str) -> Iterator[str]:
        if run[0].isascii():
            word = run.lower()
            if not (word in _LITTLE or self.words.intersection(_singulars(word))):
                yield word
            return
        yield from self._unseen_han(run)

    def _unseen_han(self, run: str) -> Iterator[str]:
        """A character that fits no word takes a known single one before it along: of 海豚, 豚 alone says nothing."""
        word, before, place = "", "", 0
        while place < len(run):
            fits = self._longest(run, place)
            if not fits:
                word = (word or before) + run[place]
            elif word:
                yield word
                word = ""
            before = fits if len(fits) == 1 and fits not in _LITTLE_HAN else ""
            place += max(1, len(fits))
        if word:
            yield word

    def _longest(self, run: str, place: int) -> str:
        lengths = range(min(len(run) - place, 8), 0, -1)
        pieces = (run[place : place + length] for length in lengths)
        return next((piece for piece in pieces if piece in self.words or piece in _LITTLE_HAN), "")


def _singulars(word: str) -> Iterator[str]:
    yield word
    for ending, instead in (("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + instead
