"""Grids in one call: pictures with one to three settings varied, queued as one group and laid out on sheets."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import MAX_PROMPT, GenerationRequest
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.text import Text
from zimage_app.rest.caller import CurrentCaller
from zimage_app.rest.contract import MAX_NAME, with_random_seed
from zimage_app.rest.orders import GroupAnswer, Queued, check_masks, group_requester, queue_group
from zimage_app.rest.schema import VALIDATION_SLOTS
from zimage_app.service.group_orders import PlannedGroup, plan_grid
from zimage_app.service.many.grids.axes import MAX_CELLS, Axis, parse_axis

router = APIRouter(tags=["generate"])

_MAX_AXIS = 8000
"""Characters."""


class AxisBody(BaseModel):
    """A setting and its values along one axis."""

    model_config = STRICT

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            description="As in stages.2.denoise; lora, preset, size; or prompt~WORD, whose place the values take.",
        ),
    ]
    values: Annotated[
        list[Any],
        Field(min_length=1, max_length=MAX_CELLS, description=f"Texts have at most {MAX_PROMPT} characters."),
    ]


_Axis = Annotated[
    Annotated[str, Field(min_length=1, max_length=_MAX_AXIS)] | AxisBody | None,
    Field(description="NAME=VALUES as on the command line, as in stages.2.denoise=0.4..0.6/0.1; or in two parts."),
]


class GridBody(BaseModel):
    """Axes of varied settings, and the settings that all pictures share."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"prompt": "雪山下的小屋", "x": "stages.2.denoise=0.4..0.6/0.1"}]},
    )

    prompt: Annotated[
        str,
        Field(min_length=1, max_length=MAX_PROMPT, description=GenerationRequest.model_fields["prompt"].description),
    ]
    x: _Axis
    y: _Axis = None
    z: _Axis = None
    settings: Annotated[dict[str, Any], Field(description="Of a request; what an axis says counts for more.")] = {}
    model: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None
    dry_run: Annotated[bool, Field(description="Only say what would be made and what it costs.")] = False


class GridCell(BaseModel):
    """One picture of a grid."""

    column: Annotated[int, Field(description="From 1, as row and sheet.")]
    row: int
    sheet: int
    seed: int
    task_id: Annotated[str | None, Field(description="null in a dry run.")]


class GridAnswer(GroupAnswer):
    """A grid and its cost."""

    pictures: int
    evaluations: Annotated[int, Field(description="Of the model, at most, without stage memory.")]
    saved_evaluations: Annotated[int, Field(description="Those of them that stage memory saves.")]
    labels: Annotated[list[list[str]], Field(description="Of columns, rows and sheets.")]
    cells: list[GridCell]


@router.post("/grid")
def grid(body: GridBody, caller: CurrentCaller, request: Request, response: Response) -> GridAnswer:
    """Queue a picture for each cell, all of them or none. The sheets are laid out when the last one ends."""
    requester = group_requester(caller, body.model, body.dry_run, (request, response))
    check_masks(caller, requester, [body.settings])
    with VALIDATION_SLOTS:
        many = plan_grid(
            caller.studio, with_random_seed(body.settings) | {"prompt": body.prompt}, _axes(body), requester
        )
    return _answer(many, queue_group(caller, many, requester, body.dry_run))


def _axes(body: GridBody) -> list[Axis]:
    given = {name: axis for name in "xyz" if (axis := getattr(body, name)) is not None}
    return [parse_axis(axis, name) if isinstance(axis, str) else _axis(axis, name) for name, axis in given.items()]


def _axis(axis: AxisBody, name: str) -> Axis:
    if any(isinstance(value, str) and len(value) > MAX_PROMPT for value in axis.values):
        raise RequestError(
            name, Text(f"a value may have at most {MAX_PROMPT} characters", f"每个值最多 {MAX_PROMPT} 个字符")
        )
    return Axis(axis.name, tuple(axis.values), name)


def _answer(many: PlannedGroup, queued: Queued) -> GridAnswer:
    cells = [
        GridCell(column=i + 1, row=j + 1, sheet=k + 1, seed=int(item.plan.request.seed), task_id=task)
        for (i, j, k), item, task in zip(many.places, many.items, queued.jobs, strict=True)
    ]
    return GridAnswer(
        id=queued.id,
        group=queued.group,
        pictures=many.cost.pictures,
        evaluations=many.cost.evaluations,
        saved_evaluations=many.cost.saved,
        seconds=many.cost.seconds,
        labels=[list(each) for each in many.labels],
        cells=cells,
    )
