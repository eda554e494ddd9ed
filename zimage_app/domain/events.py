"""The events of a run, in order: Warned? StageStarted StepDone* StageDone … then Finished, Failed or Cancelled.

When memory runs out, Warned says how the run adapts, and the stage restarts with another StageStarted.
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
    """A setting has no effect or only a partial one, or memory ran out; the run continues."""

    warnings: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins."""

    stage: StagePlan


@dataclass(frozen=True, slots=True)
class StepDone:
    """A sampling step is done."""

    stage: StagePlan
    step: int
    """Steps done in this stage, from 1."""
    preview: Picture
    """Approximate RGB straight from the latent, one pixel per latent cell."""


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage is done and its latent is decoded."""

    stage: StagePlan
    picture: Picture
    seconds: float
    calls: int
    """Transformer calls that the sampler asked for (two per evaluation for CFG with prompts of unequal length)."""
    skipped_calls: tuple[int, ...]
    """Indices (from 0) of the calls that EasyCache skipped."""
    from_memory: bool = False
    """The stage was not run; its cached result from an earlier run was used."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is complete; the last stage's picture is the result."""

    picture: Picture
    record: ImageRecord


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed; the stages finished before are kept."""

    error: StudioError


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was stopped; the stages finished before are kept."""


Event = Warned | StageStarted | StepDone | StageDone | Finished | Failed | Cancelled
