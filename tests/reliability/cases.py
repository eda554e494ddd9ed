"""Runs generated cases one by one and holds each to the goals: our own error or none, in time, within memory.

Knows nothing of what is generated. ``ZIMAGE_FUZZ_FIRST`` and ``ZIMAGE_FUZZ_CASES`` choose others, to see one again.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.memory import begin_peak, peak, settled
from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text

FEW = 100
"""Of each goal in the normal run: seconds."""
MANY = 5000
"""Of each goal in the long one."""
SECONDS = 1.0
"""Of the processor that one case may take; a busy machine's other work isn't counted."""
HUNG = 20.0
"""The same in the normal run, which a slow machine must pass too."""
GROWTH = 64 * 2**20
"""Bytes of memory that one case may take, and that all together may leave behind."""
_MAX_SENTENCE = 2000
_WARMING_UP = 10
"""The part of the cases, one in so many, after which all that is imported or kept once is there."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to be read."""

    label: str
    """What was done to it."""
    read: Callable[[], None]
    """Raises a StudioError, or nothing."""


Maker = Callable[[random.Random], Case]


@dataclass
class Figures:
    """What the cases took."""

    goal: str
    cases: int = 0
    refused: int = 0
    """By our own error."""
    seconds: float = 0.0
    """Of the slowest."""
    slowest: str = ""
    growth: int = 0
    """Bytes at most, at a case's peak; 0 where the system doesn't tell."""
    largest: str = ""
    left: int = 0
    """Bytes that stayed after all of them."""
    labels: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.goal}: {self.cases} cases, {self.refused} refused; slowest {self.seconds:.2f} s ({self.slowest}),"
            f" largest {self.growth / 2**20:.1f} MB ({self.largest}), left {self.left / 2**20:.1f} MB"
        )


def run_cases(goal: str, make: Maker, count: int, seconds: float = HUNG) -> Figures:
    """Make and read ``count`` cases; raises AssertionError with the line that shows the failing one again."""
    first = int(os.environ.get("ZIMAGE_FUZZ_FIRST", "0"))
    count = int(os.environ.get("ZIMAGE_FUZZ_CASES", str(count)))
    figures = Figures(goal)
    begun = settled()
    for number in range(first, first + count):
        case = make(random.Random(f"{goal} {number}"))
        name = f"{number}: {case.label}"
        again = f"ZIMAGE_FUZZ_FIRST={number} ZIMAGE_FUZZ_CASES=1 python -m pytest tests/reliability -k {goal.lower()}"
        took, grew, refused = _measured(case, f"{goal} case {name}; to see it again: {again}")
        assert took <= seconds, f"{goal} case {name} took {took:.1f} s; to see it again: {again}"
        assert grew <= GROWTH, f"{goal} case {name} took {grew >> 20} MB; to see it again: {again}"
        figures.cases += 1
        figures.refused += refused
        figures.labels[case.label] = figures.labels.get(case.label, 0) + 1
        if took > figures.seconds:
            figures.seconds, figures.slowest = took, name
        if grew > figures.growth:
            figures.growth, figures.largest = grew, name
        if figures.cases == count // _WARMING_UP:
            begun = settled()
    figures.left = settled() - begun
    assert figures.left <= GROWTH, str(figures)
    print(figures)  # noqa: T201 - what the run was: seen with -s, and where it failed
    return figures


def _measured(case: Case, name: str) -> tuple[float, int, bool]:
    """(seconds of the processor, bytes at the peak, whether it was refused)."""
    before = begin_peak()
    started = time.thread_time()
    refused = False
    try:
        case.read()
    except StudioError as error:
        refused = True
        sound(error.text)
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    return time.thread_time() - started, max(0, peak() - before), refused


def sound(*texts: Text) -> None:
    """Sentences that a page can show: of a bearable length, and text in every letter."""
    for text in texts:
        for sentence in (text.en, text.zh):
            assert sentence.strip()
            assert len(sentence) <= _MAX_SENTENCE, f"{len(sentence)} letters: {sentence[:200]}"
            sentence.encode()


def written(path: Path, data: bytes) -> Path:
    """A file with these bytes, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
