"""Batches and grids as the page and REST ask for them: planned whole, then queued as one group that is kept.

The command line plans with the same functions (``batch/items.py``, ``grids/planning.py``), but has folders of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zimage_app.domain.errors import ModelError, RequestError, StorageError
from zimage_app.domain.plan import GenerationPlan, draw_seed
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Language, Text
from zimage_app.service.groups import GroupItem, GroupRecord, Kind, new_group_id
from zimage_app.service.many.batch.items import BatchItem, BatchOptions, SeedMode, batch_items
from zimage_app.service.many.batch.reading import BatchFile
from zimage_app.service.many.grids.axes import Axis, Labels, sheet_labels
from zimage_app.service.many.grids.planning import Cost, cost_of, grid_items
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.studio import Studio

Cell = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom many pictures are made, and by which model."""

    owner: str
    model: str
    language: Language = "en"
    """In which the sheets of a grid are labelled."""


@dataclass(frozen=True, slots=True)
class Many:
    """Pictures that will be asked for together."""

    kind: Kind
    title: str
    items: tuple[BatchItem, ...]
    cost: Cost
    notes: tuple[Text, ...] = ()
    """What has no effect."""
    places: tuple[Cell, ...] = ()
    """Of a grid: the column, row and sheet of each item."""
    labels: Labels = ()


def plan_grid(studio: Studio, settings: Mapping[str, Any], axes: Sequence[Axis], asker: Asker) -> Many:
    """A grid over one to three axes; ``settings`` is a request as plain data, whose stages may be left out.

    Raises:
        RequestError: names the axis, or the setting, its value and what is allowed.
    """
    if not axes:
        raise RequestError("x", Text("give at least one axis", "请至少给出一个轴"))
    _check_count(studio, math.prod(len(axis.values) for axis in axes), "axes")
    data = _with_stages(studio, settings, asker.model)
    if not isinstance(data.get("seed"), int):
        data["seed"] = draw_seed()  # once, so that cells differ in nothing but what varies
    cells, items = grid_items(axes, data, _planner(studio, asker), studio.presets)
    return Many(
        "grid",
        items[0].plan.request.full_prompt,
        tuple(items),
        _cost(studio, items, asker.model),
        places=tuple(cell.place for cell in cells),
        labels=sheet_labels(axes, asker.language),
    )


@dataclass(frozen=True, slots=True)
class Entries:
    """What a batch is made of."""

    title: str
    """What its file is called; empty where there is none."""
    batch: BatchFile
    settings: Mapping[str, Any]
    """Of a request, as plain data; what an entry says counts for more."""
    seed: int
    seed_mode: SeedMode = "count"


def plan_batch(studio: Studio, entries: Entries, asker: Asker) -> Many:
    """A picture for each entry.

    Raises:
        BatchError: everything that is wrong, at once, with file, line and field.
        RequestError: there are too many entries, or the model isn't here.
    """
    _check_count(studio, len(entries.batch.entries), "items")
    settings = _with_stages(studio, entries.settings, asker.model)
    options = BatchOptions(settings, _planner(studio, asker), entries.seed, entries.seed_mode)
    items, notes = batch_items(entries.title, entries.batch, options)
    return Many("batch", entries.title, tuple(items), _cost(studio, items, asker.model), tuple(notes))


def start(studio: Studio, many: Many, asker: Asker, group: str = "") -> GroupRecord:
    """Queue all of it or nothing, and keep it as a group; ``group`` is a name of the caller's for its jobs.

    Raises:
        StudioError: as ``Studio.submit``; StorageError too where the group's folder can't be written.
    """
    group_id = new_group_id()
    requests = [item.plan.request for item in many.items]
    jobs = studio.submit_group(requests, asker.model, asker.owner, group or group_id)
    places: Sequence[Cell | None] = many.places or [None] * len(jobs)
    items = tuple(
        GroupItem(item.index, item.id, item.key, item.name, item.text, job, place)
        for item, job, place in zip(many.items, jobs, places, strict=True)
    )
    now = datetime.now().astimezone()
    mark = owner_mark(asker.owner)
    record = GroupRecord(group_id, many.kind, many.title, mark, group or group_id, now, items, many.labels)
    try:
        studio.groups.keep(record)
    except StorageError:
        for job in jobs:
            studio.cancel(job)
        raise
    return record


def _with_stages(studio: Studio, settings: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Settings with the model's stages, where they have none; raises RequestError of ``model``."""
    try:
        card = studio.card(model)
    except ModelError as error:
        raise RequestError("model", error.text) from error
    return {"stages": [stage.model_dump(mode="json") for stage in card.stages], **settings}


def _planner(studio: Studio, asker: Asker) -> Callable[[GenerationRequest], GenerationPlan]:
    return lambda request: studio.checked_plan(request, asker.model, asker.owner)


def _cost(studio: Studio, items: Sequence[BatchItem], model: str) -> Cost:
    return cost_of([item.plan for item in items], studio.pace.of(model), memory=studio.remembers_stages)


def _check_count(studio: Studio, count: int, field: str) -> None:
    most = studio.most_waiting
    if count > most:
        raise RequestError(
            field, Text(f"{count} pictures; at most {most} may wait at once", f"共 {count} 张；最多同时排队 {most} 张")
        )
