"""Makes the next request from a finished picture's: new seed, variation, or the same composition. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zimage_app.domain.errors import wrong_field
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.settings.stage import MAX_STAGES

LITTLE, MUCH = 0.15, 0.4
"""Variation strengths: the same scene with other details; another scene that still resembles it."""


class Another(BaseModel):
    """How the next picture differs from the finished one."""

    model_config = STRICT

    how: Literal["same", "seed", "little", "much", "keep"]
    """``keep`` reuses the first ``kept`` stages from the stage memory and runs the others with new seeds."""
    kept: Annotated[int, Field(ge=1, le=MAX_STAGES)] = 1


def another(request: GenerationRequest, asked: Another) -> GenerationRequest:
    """Return the next request. ``request`` has fixed seeds and drawn wildcards.

    Raises:
        RequestError: no stage is left to run with a new seed.
    """
    match asked.how:
        case "same":
            return request
        case "seed":
            # Fixed stage seeds would give the same picture again.
            stages = tuple(stage.model_copy(update={"seed": "follow"}) for stage in request.stages or ())
            drawn = {"seed": "random", "variation_strength": 0.0, "variation_seed": "random", "stages": stages}
            return request.model_copy(update=drawn)
        case "little" | "much":
            strength = LITTLE if asked.how == "little" else MUCH
            return request.model_copy(update={"variation_strength": strength, "variation_seed": "random"})
        case "keep":
            return _with_stages_kept(request, asked.kept)


def _with_stages_kept(request: GenerationRequest, kept: int) -> GenerationRequest:
    redone = {number for number, _ in request.running[kept:]}
    if not redone:
        count = len(request.running)
        raise wrong_field(
            "kept",
            f"{kept}: of {count} stages, at most {count - 1} can be kept",
            f"{kept}：共 {count} 个阶段，最多保留 {count - 1} 个",
        )
    stages = tuple(
        stage.model_copy(update={"seed": "random"}) if number in redone else stage
        for number, stage in enumerate(request.stages or ())
    )
    return request.model_copy(update={"stages": stages})
