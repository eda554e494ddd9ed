"""What happens in a run, in order: Warned? StageStarted StepDone* StageDone … then Finished, Failed or Cancelled.

Where memory runs out, Warned says what is done about it, and the stage begins anew with another StageStarted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zimage_app.domain.errors import StudioError
from zimage_app.domain.plan import StagePlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text

Picture = NDArray[np.uint8]
"""(height, width, 3), RGB."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that was asked for has no effect or only in part, or memory ran out; the run goes on."""

    warnings: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins."""

    stage: StagePlan


@dataclass(frozen=True, slots=True)
class StepDone:
    """A sampling step is over."""

    stage: StagePlan
    step: int
    """Steps done in this stage, from 1."""
    preview: Picture
    """Rough and small: latent to RGB, one pixel per latent cell."""


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage is over and decoded."""

    stage: StagePlan
    picture: Picture
    seconds: float
    calls: int
    """Transformer calls that the sampler asked for (two per evaluation for CFG with prompts of unequal length)."""
    skipped_calls: tuple[int, ...]
    """Which of them EasyCache answered, counted from 0."""
    from_memory: bool = False
    """It was not run: what it gave before was still known."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last stage's picture is the result."""

    picture: Picture
    record: ImageRecord


@dataclass(frozen=True, slots=True)
class Failed:
    """The run broke off; what was finished before stays."""

    error: StudioError


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was stopped; what was finished before stays."""


Event = Warned | StageStarted | StepDone | StageDone | Finished | Failed | Cancelled
