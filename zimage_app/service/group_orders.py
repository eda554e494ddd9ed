"""Batches and grids requested by page and REST: planned completely, then queued and saved as one group.

The command line plans with the same functions (``batch/items.py``, ``grids/planning.py``) but manages its own folders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from zimage_app.domain.errors import RequestError, naming_fields
from zimage_app.domain.plan import GenerationPlan, draw_seed
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Language, Text
from zimage_app.service.groups import GroupItem, GroupRecord, Kind, new_group_id
from zimage_app.service.many.batch.items import BatchItem, BatchOptions, SeedMode, batch_items, check_letters
from zimage_app.service.many.batch.reading import BatchFile
from zimage_app.service.many.grids.axes import Axis, Labels, sheet_labels, with_drawn_seeds
from zimage_app.service.many.grids.planning import Cost, GridOptions, Place, cost_of, grid_items
from zimage_app.service.many.lists import without_nulls
from zimage_app.service.rules.limits import check_count
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.studio import Studio


@dataclass(frozen=True, slots=True)
class Requester:
    """The owner who requests a group, and the model to use."""

    owner: str
    model: str
    language: Language = "en"
    """Language of the labels on a grid's sheets."""
    trusted: bool = False
    """Whether it is a program of the app's own user, who may use every uploaded picture."""


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A planned batch or grid that isn't queued yet."""

    kind: Kind
    title: str
    items: tuple[BatchItem, ...]
    cost: Cost
    notes: tuple[Text, ...] = ()
    """Notes about settings without effect."""
    places: tuple[Place, ...] = ()
    """For a grid: (column, row, sheet) of each item."""
    labels: Labels = ()


def plan_grid(studio: Studio, settings: Mapping[str, Any], axes: Sequence[Axis], requester: Requester) -> PlannedGroup:
    """Plan a grid over one to three axes; ``settings`` is a request as plain data, in which stages may be omitted.

    Raises:
        RequestError: a value isn't allowed; names the axis or the setting.
    """
    if not axes:
        raise RequestError("x", Text("give at least one axis", "请至少给出一个轴"))
    check_count(math.prod(len(axis.values) for axis in axes), studio.max_waiting, "axes")
    axes = with_drawn_seeds(axes, draw_seed)
    data = _with_stages(studio, settings, requester.model)
    if not isinstance(data.get("seed"), int):
        data["seed"] = draw_seed()  # drawn once, so that cells differ in the varied settings only
    options = GridOptions(data, _planner(studio, requester), studio.presets, requester.model)
    places, items = grid_items(axes, options)
    return PlannedGroup(
        "grid",
        items[0].plan.request.full_prompt,
        tuple(items),
        _cost(studio, items, requester.model),
        places=tuple(places),
        labels=sheet_labels(axes, requester.language),
    )


@dataclass(frozen=True, slots=True)
class BatchInput:
    """A batch and its common settings."""

    title: str
    """The file's name; empty without a file."""
    batch: BatchFile
    settings: Mapping[str, Any]
    """Request settings as plain data; an entry's own settings override them."""
    seed: int
    seed_mode: SeedMode = "count"


def plan_batch(studio: Studio, entries: BatchInput, requester: Requester) -> PlannedGroup:
    """Plan a picture for each entry.

    Raises:
        BatchError: the batch has errors; lists all of them with file, line and field.
        RequestError: there are too many entries, or the model isn't on this machine.
    """
    check_letters("FILE", entries.title)
    check_count(len(entries.batch.entries), studio.max_waiting, "items")
    settings = _with_stages(studio, entries.settings, requester.model)
    planner = _planner(studio, requester)
    options = BatchOptions(settings, planner, entries.seed, entries.seed_mode, made_with=requester.model)
    items, notes = batch_items(entries.title, entries.batch, options)
    return PlannedGroup("batch", entries.title, tuple(items), _cost(studio, items, requester.model), tuple(notes))


def start(studio: Studio, many: PlannedGroup, requester: Requester, group: str = "") -> GroupRecord:
    """Queue all pictures or none, and save them as a group; ``group`` is an id of the jobs' group chosen by the caller.

    Raises:
        StudioError: as ``Studio.submit``; also StorageError if the group's folder can't be written.
    """
    group_id = new_group_id()
    requests = [item.plan.request for item in many.items]
    jobs = studio.submit_group(requests, requester.model, requester.owner, group or group_id, trusted=requester.trusted)
    try:
        record = _record(many, group_id, group or group_id, jobs, owner_mark(requester.owner))
        studio.groups.save(record)
    except BaseException:  # after any error: otherwise jobs without a group would stay queued
        for job in jobs:
            studio.cancel(job)
        raise
    return record


def _record(many: PlannedGroup, group_id: str, group: str, jobs: Sequence[str], mark: str) -> GroupRecord:
    places: Sequence[Place | None] = many.places or [None] * len(jobs)
    items = tuple(
        GroupItem(item.index, item.id, item.key, item.name, item.text, job, place)
        for item, job, place in zip(many.items, jobs, places, strict=True)
    )
    now = datetime.now().astimezone()
    return GroupRecord(group_id, many.kind, many.title, mark, group, now, items, many.labels)


def _with_stages(studio: Studio, settings: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the settings, with the model's stages if they have none; raises RequestError for an unknown model."""
    with naming_fields():
        card = studio.card(model)
    return {"stages": [stage.model_dump(mode="json") for stage in card.stages], **without_nulls(settings)}


def _planner(studio: Studio, requester: Requester) -> Callable[[GenerationRequest], GenerationPlan]:
    return partial(studio.checked_plan, model=requester.model, owner=requester.owner, trusted=requester.trusted)


def _cost(studio: Studio, items: Sequence[BatchItem], model: str) -> Cost:
    return cost_of([item.plan for item in items], studio.run_times.of(model), memory=studio.remembers_stages)
