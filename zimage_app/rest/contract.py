"""Fields that clients of similar web APIs send, and their conversion to this app's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.many import MAX_COUNT
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.knob import STRICT, within
from zimage_app.domain.sizes import GRID, final_stage, sized
from zimage_app.domain.text import Text

MAX_NAME = 400
MAX_GROUP = 64
"""Characters."""


class GenerateInput(BaseModel):
    """Fields of a body besides the request's own settings: model, device, and short forms for size and steps.

    ``request_from_body`` applies them.
    """

    model_config = STRICT

    model: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            description="A name of GET /api/models. Left out: the model that the page starts with.",
        ),
    ] = None
    group: Annotated[
        str, Field(max_length=MAX_GROUP, description="The same for tasks that belong together, to be cancelled as one.")
    ] = ""
    width: Annotated[
        int | None,
        Field(
            ge=256,
            le=2048,
            multiple_of=GRID,
            description="Of the finished picture; all stages follow in proportion. Left out: the model's own, as 672.",
        ),
        within(256, 2048, GRID),
    ] = None
    height: Annotated[
        int | None,
        Field(ge=256, le=2048, multiple_of=GRID, description="See width. Left out: the model's own, as 864."),
        within(256, 2048, GRID),
    ] = None
    num_inference_steps: Annotated[
        int | None,
        Field(ge=1, le=50, description="One single stage of that many steps, instead of the stages."),
    ] = None
    count: Annotated[
        int, Field(ge=1, le=MAX_COUNT, description="Pictures of this request, each a task; their seeds count up.")
    ] = 1
    use_gpu: Annotated[
        bool | None,
        Field(
            description="true: the best device. false: this picture on the CPU; without a size then, at 512 x 512.",
        ),
    ] = None


_CPU_SIDE = 512
"""Side in pixels of a picture on the CPU without a given size."""


def request_from_body(
    settings: Mapping[str, Any], asked: GenerateInput, card: ModelCard
) -> tuple[GenerationRequest, tuple[Text, ...]]:
    """The request from a body's ``settings`` and its other fields ``asked``, and notes for its sender.

    Raises:
        RequestError: a field is out of bounds or excludes another one; names the first.
    """
    data = with_random_seed(settings)
    small = asked.use_gpu is False and asked.width is asked.height is data.get("stages") is None
    if asked.num_inference_steps is not None:
        if data.get("stages") is not None:
            raise RequestError(
                "num_inference_steps",
                Text(
                    "asks for one single stage; leave out either it or stages",
                    "表示只用一个阶段；请勿与 stages 同时给出",
                ),
            )
        steps = {"steps": asked.num_inference_steps}
        data["stages"] = [stage.model_dump(mode="json") | steps for stage in card.single_stage]
    request = parse_request(data)
    width, height = (_CPU_SIDE, _CPU_SIDE) if small else (asked.width, asked.height)
    if width is None and height is None:
        return request, ()
    stages = request.stages or card.stages
    last = final_stage(stages)
    request = request.model_copy(update={"stages": sized(stages, width or last.width, height or last.height)})
    return request, (_SMALL,) if small else ()


def with_random_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A request's settings with ``random`` in place of -1 and null, which mean a random seed in REST."""
    return {**settings, "seed": "random"} if settings.get("seed", 0) in (None, -1) else dict(settings)


_SMALL = Text(
    f"Made at {_CPU_SIDE} x {_CPU_SIDE}, as use_gpu is false and no size was given; width and height choose another.",
    f"尺寸为 {_CPU_SIDE} × {_CPU_SIDE}：use_gpu 为 false 且未指定尺寸；可用 width 和 height 另行指定。",
)
