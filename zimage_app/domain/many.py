"""Several requests from one: the same settings with seeds that count up. Pure."""

from __future__ import annotations

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import MAX_SEED, Stage
from zimage_app.domain.text import Text

MAX_COUNT = 100
"""Maximum number of pictures per request."""


def counted(request: GenerationRequest, count: object, rounds: int = 0) -> list[GenerationRequest]:
    """Return ``count`` requests with seeds that count up; for several, a random base seed is drawn first.

    The base seed counts up by one, and so does each stage's fixed seed: otherwise a workflow with fixed stage seeds
    would give the same picture again. Choices and wildcards are drawn again for each seed. ``rounds`` is the number of
    earlier calls with the same request; the seeds continue after theirs.

    Raises:
        RequestError: ``count`` is not a whole number from 1 to MAX_COUNT.
    """
    if not (isinstance(count, int) and 1 <= count <= MAX_COUNT):
        raise RequestError(
            "count",
            Text(f"{count}: must be a whole number from 1 to {MAX_COUNT}", f"{count}：必须是 1 到 {MAX_COUNT} 的整数"),
        )
    if count > 1 and request.seed == "random":
        request = request.model_copy(update={"seed": draw_seed()})
    turns = range(rounds * count, (rounds + 1) * count)
    return [with_turn(request.typed, turn) if turn else request for turn in turns]


def with_turn(request: GenerationRequest, turn: int) -> GenerationRequest:
    """The request with ``turn`` added to every seed that is a number."""
    stages = request.stages and tuple(_stage(stage, turn) for stage in request.stages)
    return request.model_copy(update={"seed": _counted(request.seed, turn), "stages": stages})


def _stage(stage: Stage, turn: int) -> Stage:
    return stage.model_copy(update={"seed": _counted(stage.seed, turn)})


def _counted(seed: int | str, turn: int) -> int | str:
    return (seed + turn) % (MAX_SEED + 1) if isinstance(seed, int) else seed
