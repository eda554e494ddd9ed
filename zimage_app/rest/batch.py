"""Many pictures in one call: entries as in a batch file, queued as one group."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.settings.stage import Seed
from zimage_app.domain.text import Text
from zimage_app.rest.caller import CurrentCaller
from zimage_app.rest.contract import MAX_GROUP, MAX_NAME, with_random_seed
from zimage_app.rest.orders import GroupAnswer, check_masks, group_requester, queue_group
from zimage_app.rest.schema import VALIDATION_SLOTS
from zimage_app.service.group_orders import BatchInput, plan_batch
from zimage_app.service.many.batch.items import BatchError, BatchItem
from zimage_app.service.many.batch.reading import batch_of

router = APIRouter(tags=["generate"])

MAX_ITEMS = 200
_Entries = Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)]


class BatchBody(BaseModel):
    """Entries and their common settings: either ``items``, or ``tweets`` with the ``persona`` that posts them."""

    model_config = STRICT

    items: Annotated[_Entries | None, Field(description="Prompts, or settings by their dotted names.")] = None
    persona: Annotated[dict[str, Any] | None, Field(description="Its trigger word, LoRA and negative prompt.")] = None
    tweets: Annotated[_Entries | None, Field(description="Posts of the persona, each with image_prompt.")] = None
    settings: Annotated[dict[str, Any], Field(description="Of a request; what an entry says counts for more.")] = {}
    seed: Annotated[
        Literal[-1] | Seed | None,
        Field(description="Where counting begins; -1: drawn; left out: that of settings, else drawn."),
    ] = None
    seed_mode: Literal["count", "fixed", "random"] = "count"
    model: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None
    group: Annotated[str, Field(max_length=MAX_GROUP)] = ""
    dry_run: Annotated[bool, Field(description="Only say what would be made.")] = False


class BatchTask(BaseModel):
    """One picture of a batch."""

    index: Annotated[int, Field(description="The entry's place, from 1.")]
    id: Annotated[str, Field(description="As the entry has it, else its place.")]
    prompt: str
    seed: int
    task_id: Annotated[str | None, Field(description="null in a dry run.")]


class BatchAccepted(GroupAnswer):
    """A queued batch."""

    tasks: list[BatchTask]
    notes: Annotated[list[str], Field(description="What has no effect.")]


@router.post("/batch")
def batch(body: BatchBody, caller: CurrentCaller, request: Request, response: Response) -> BatchAccepted:
    """Queue a picture for each entry, all of them or none. An error lists every invalid entry, one per line."""
    requester = group_requester(caller, body.model, body.dry_run, (request, response))
    check_masks(caller, requester, [body.settings, *(body.items or ())])
    try:
        with VALIDATION_SLOTS:
            entries = BatchInput(
                "", batch_of(_entries(body)), with_random_seed(body.settings), _seed(body), body.seed_mode
            )
            many = plan_batch(caller.studio, entries, requester)
    except BatchError as error:
        raise error.at("items" if body.items is not None else "tweets") from error
    queued = queue_group(caller, many, requester, body.dry_run, body.group)
    return BatchAccepted(
        id=queued.id,
        group=queued.group,
        tasks=[_task(item, job) for item, job in zip(many.items, queued.jobs, strict=True)],
        notes=[caller.studio.redacted(note).to(caller.language) for note in many.notes],
        seconds=many.cost.seconds,
    )


def _task(item: BatchItem, job: str | None) -> BatchTask:
    request = item.plan.request
    return BatchTask(
        index=item.index, id=item.id, prompt=request.full_prompt, seed=int(item.plan.request.seed), task_id=job
    )


def _seed(body: BatchBody) -> int:
    """The body's seed, else the one in its settings (which is checked later), else a drawn one."""
    given = body.settings.get("seed") if body.seed is None else body.seed
    return given if isinstance(given, int) and given != -1 else draw_seed()


def _entries(body: BatchBody) -> object:
    """The entries as in a file; raises RequestError where the body has none, or both kinds."""
    if body.items is None and body.tweets is None:
        raise RequestError(
            "items",
            Text(
                "is missing; give a list of prompts or settings, or tweets with their persona",
                "缺少这一项；请给出提示词或设置的列表，或给出 tweets 及其 persona",
            ),
        )
    if body.items is not None:
        for field in ("persona", "tweets"):
            if getattr(body, field) is not None:
                raise RequestError(field, Text("leave out either it or items", "请勿与 items 同时给出"))
        return _seeded(body.items)
    return {"persona": body.persona and with_random_seed(body.persona), "tweets": _seeded(body.tweets)}


def _seeded(entries: list[str | dict[str, Any]] | None) -> list[str | dict[str, Any]] | None:
    return entries and [with_random_seed(entry) if isinstance(entry, dict) else entry for entry in entries]
