"""Several requests of one: the same settings with seeds that count up. Pure."""

from __future__ import annotations

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.request import MAX_SEED, GenerationRequest, Stage
from zimage_app.domain.text import Text

MAX_COUNT = 100
"""Pictures of one request."""


def with_seed(request: GenerationRequest) -> GenerationRequest:
    """The request with a number for a seed: its own, or one that is drawn."""
    return request if request.seed != "random" else request.model_copy(update={"seed": draw_seed()})


def counted(request: GenerationRequest, count: int) -> list[GenerationRequest]:
    """``count`` requests, the first of them ``request`` itself, whose seed must be a number.

    The base seed counts up by one, and so does each stage's seed that is a number of its own: else a workflow with
    fixed seeds would give the same picture again. Choices and wildcards are drawn anew for each seed.

    Raises:
        RequestError: ``count`` is out of bounds.
    """
    if not 1 <= count <= MAX_COUNT:
        raise RequestError(
            "count", Text(f"{count}: must be from 1 to {MAX_COUNT}", f"{count}：必须在 1 到 {MAX_COUNT} 之间")
        )
    return [request, *(with_turn(request.typed, turn) for turn in range(1, count))]


def with_turn(request: GenerationRequest, turn: int) -> GenerationRequest:
    """The request with all seeds that are numbers counted up by ``turn``."""
    stages = request.stages and tuple(_stage(stage, turn) for stage in request.stages)
    return request.model_copy(update={"seed": _counted(request.seed, turn), "stages": stages})


def _stage(stage: Stage, turn: int) -> Stage:
    return stage.model_copy(update={"seed": _counted(stage.seed, turn)})


def _counted(seed: int | str, turn: int) -> int | str:
    return (seed + turn) % (MAX_SEED + 1) if isinstance(seed, int) else seed
