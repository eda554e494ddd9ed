"""Many pictures in one call: entries as a batch's file has them, queued as one group."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zimage_app.domain.errors import LoraError, ModelError, RequestError
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.request import Seed
from zimage_app.rest.caller import Calling, told_owner
from zimage_app.rest.contract import MAX_GROUP, MAX_NAME
from zimage_app.rest.schema import CHECKS
from zimage_app.service.many.batch.items import BatchError, BatchOptions, batch_items
from zimage_app.service.many.batch.reading import batch_of
from zimage_app.service.studio import new_group

router = APIRouter(tags=["generate"])

MAX_ITEMS = 200
_Entries = Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)]


class BatchBody(BaseModel):
    """Entries, and what holds for all of them: either ``items``, or ``tweets`` and the ``persona`` that posts them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    items: Annotated[_Entries | None, Field(description="Prompts, or settings by their dotted names.")] = None
    persona: Annotated[dict[str, Any] | None, Field(description="Its trigger word, LoRA and negative prompt.")] = None
    tweets: Annotated[_Entries | None, Field(description="Posts of the persona, each with image_prompt.")] = None
    settings: Annotated[dict[str, Any], Field(description="Of a request; what an entry says counts for more.")] = {}
    seed: Annotated[Seed | None, Field(description="Where counting begins; left out: drawn.")] = None
    seed_mode: Literal["count", "fixed", "random"] = "count"
    model: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None
    group: Annotated[str, Field(max_length=MAX_GROUP)] = ""


class BatchTask(BaseModel):
    """One picture of a batch."""

    index: Annotated[int, Field(description="The entry's place, from 1.")]
    id: Annotated[str, Field(description="As the entry has it, else its place.")]
    task_id: str


class BatchAccepted(BaseModel):
    """A batch that waits for its turn."""

    group: Annotated[str, Field(description="To be given to DELETE /api/queue/groups/GROUP.")]
    tasks: list[BatchTask]
    notes: Annotated[list[str], Field(description="What has no effect.")]


@router.post("/batch")
def batch(body: BatchBody, caller: Calling, request: Request, response: Response) -> BatchAccepted:
    """Ask for a picture for each entry, all of them or none; what is wrong is told at once, a line each."""
    studio = caller.studio
    if studio.borrows_gpu:
        raise HTTPException(501)
    model = body.model or studio.default_model
    try:
        settings = {"stages": [stage.model_dump(mode="json") for stage in studio.card(model).stages], **body.settings}
        seed = draw_seed() if body.seed is None else body.seed
        options = BatchOptions(settings, lambda each: studio.plan(each, model), seed, body.seed_mode)
        with CHECKS:
            items, notes = batch_items("", batch_of(_entries(body)), options)
        owner = told_owner(caller, request, response)
        group = body.group or new_group()
        ids = studio.submit_group([item.plan.request for item in items], model, owner, group)
    except ModelError as error:
        raise RequestError("model", error.text) from error
    except BatchError as error:
        raise error.at("items") from error
    except LoraError as error:
        raise RequestError("loras", error.text) from error
    tasks = [BatchTask(index=item.index, id=item.id, task_id=task) for item, task in zip(items, ids, strict=True)]
    return BatchAccepted(group=group, tasks=tasks, notes=[note.to(caller.language) for note in notes])


def _entries(body: BatchBody) -> object:
    if body.items is not None:
        return body.items
    return {"persona": body.persona, "tweets": body.tweets}
