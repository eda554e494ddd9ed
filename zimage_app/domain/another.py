"""Another picture like one that was made: of another seed, varied, or with its composition kept. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.settings.stage import MAX_STAGES
from zimage_app.domain.text import Text

LITTLE, MUCH = 0.15, 0.4
"""Variation strengths: the same scene with other details; another scene that still resembles it."""


class Another(BaseModel):
    """How the next picture differs from the one that was made."""

    model_config = STRICT

    how: Literal["same", "seed", "little", "much", "keep"]
    """``keep`` runs the stages after the first ``kept`` with new seeds; those before come from the stage memory."""
    kept: Annotated[int, Field(ge=1, le=MAX_STAGES)] = 1


def another(request: GenerationRequest, asked: Another) -> GenerationRequest:
    """What to run next; ``request`` is settled, and so is what was drawn for its wildcards.

    Raises:
        RequestError: no stage would be left to run anew.
    """
    match asked.how:
        case "same":
            return request
        case "seed":
            # Stages with seeds of their own follow the new one, or they would draw the same again.
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
        raise RequestError(
            "kept",
            Text(
                f"{kept}: of {count} stages, at most {count - 1} can be kept",
                f"{kept}：共 {count} 个阶段，最多保留 {count - 1} 个",
            ),
        )
    stages = tuple(
        stage.model_copy(update={"seed": "random"}) if number in redone else stage
        for number, stage in enumerate(request.stages or ())
    )
    return request.model_copy(update={"stages": stages})
