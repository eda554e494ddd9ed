"""Plans a grid: a plan for each cell, and the cost of all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zimage_app.domain.errors import RequestError, naming_fields
from zimage_app.domain.lora_text import lora_use
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.plan_summary import TimedStage, estimate, seconds_words
from zimage_app.domain.preset import applied
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.many.batch.items import BatchItem
from zimage_app.service.many.grids.axes import Apply, Axis, Cell, Data, cells, remembered_stages
from zimage_app.service.many.lists import with_more, with_size, without_nulls

_UNTIMED = Text("time not known yet", "用时未知")

Plan = Callable[[GenerationRequest], GenerationPlan]
Place = tuple[int, int, int]
"""Column, row and sheet of a cell, from 0."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of pictures that are made one after another."""

    pictures: int
    evaluations: int
    """Maximum number of model evaluations of all stages."""
    saved: int
    """Evaluations saved by stage memory."""
    seconds: float | None
    """Estimated time of the remaining evaluations; None if the model's speed isn't known."""

    @property
    def words(self) -> Text:
        """A message with the evaluations, those saved by stage memory, and the time."""
        seconds = _UNTIMED if self.seconds is None else seconds_words(self.seconds)
        left, all_, saved = self.evaluations - self.saved, self.evaluations, self.saved
        return Text(
            f"{left} evaluations (stage memory saves {saved} of {all_}), {seconds.en}",
            f"需 {left} 次求值（阶段缓存省去 {all_} 次中的 {saved} 次），{seconds.zh}",
        )


@dataclass(frozen=True, slots=True)
class GridOptions:
    """What all cells of a grid have in common."""

    settings: Mapping[str, Any]
    """A request as plain data, with its seed and stages."""
    plan: Plan
    presets: PresetLibrary
    model: str
    """Name of the model; part of the keys."""


def grid_items(axes: Sequence[Axis], options: GridOptions) -> tuple[list[Place], list[BatchItem]]:
    """Return the places of the cells of one to three axes, and their pictures.

    Raises:
        RequestError: a value isn't allowed; names the axis or the setting.
    """
    places, items = [], []
    for cell in cells(axes, without_nulls(options.settings), _special(options.presets)):
        places.append(cell.place)
        items.append(_item(len(places), cell, axes, options))
    return places, items


def cost_of(plans: Iterable[GenerationPlan], timed: Sequence[TimedStage], *, memory: bool) -> Cost:
    """Return the cost of plans; ``timed``: stages of earlier runs, ``memory``: whether stage results are cached."""
    from zimage_app.engine.stage_memory import stage_keys  # imports torch, which takes seconds

    named = [_with_names(plan) for plan in plans]
    stages = list(remembered_stages(named, [stage_keys(plan) for plan in named]))
    known = [stage for stage, remembered in stages if remembered and memory]
    run = [stage for stage, remembered in stages if not (remembered and memory)]
    seconds = [estimate(stage, timed) for stage in run]
    told = [each for each in seconds if each is not None]
    return Cost(
        len(named),
        sum(stage.evaluations for stage, _ in stages),
        sum(stage.evaluations for stage in known),
        sum(told) if len(told) == len(seconds) else None,
    )


def _item(index: int, cell: Cell, axes: Sequence[Axis], options: GridOptions) -> BatchItem:
    try:
        with naming_fields():
            planned = options.plan(parse_request(cell.data))
    except RequestError as error:
        raise _of_axis(error, axes) from error
    name = "-".join(f"{axis}{number + 1}" for axis, number in zip("xyz", cell.place, strict=True))
    asked = f"{options.model}\n{planned.request.model_dump_json()}"
    key = hashlib.sha256(asked.encode()).hexdigest()[:24]
    return BatchItem(index, name, f"{key}-{name}", name, "", planned)


def _of_axis(error: RequestError, axes: Sequence[Axis]) -> RequestError:
    """Return the error, with the axis that set its field in place of the field, if there is one."""
    axis = next((each for each in axes if each.names(error.field)), None)
    return error if axis is None else RequestError(axis.argument, error.text)


def _special(presets: PresetLibrary) -> dict[str, Apply]:
    """Return the functions that apply an axis' special names, which are not request settings."""

    def with_preset(data: Data, name: Any) -> Data:
        return applied(presets.load(str(name)).settings, data)

    return {"lora": _with_lora, "size": with_size, "preset": with_preset}


def _with_lora(data: Data, text: Any) -> Data:
    return data if text in ("none", None) else with_more(data, "loras", lora_use(str(text)))


def _with_names(plan: GenerationPlan) -> GenerationPlan:
    """Return the plan with LoRA names in place of missing file hashes, so that stage keys can be computed."""
    loras = tuple(use if use.sha256 else use.model_copy(update={"sha256": use.name}) for use in plan.request.loras)
    return replace(plan, request=plan.request.model_copy(update={"loras": loras}))
