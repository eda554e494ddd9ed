"""Shared parts of the batch and grid endpoints: the sender, and the queued group."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from zimage_app.domain.errors import RequestError
from zimage_app.domain.settings.knob import parse_as
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.rest.caller import Caller, ensure_owner
from zimage_app.service.group_orders import PlannedGroup, Requester, start


class GroupAnswer(BaseModel):
    """A group of pictures: queued, or in a dry run only planned."""

    id: Annotated[str | None, Field(description="For GET /api/groups/ID; null in a dry run.")]
    group: Annotated[str | None, Field(description="To be given to DELETE /api/queue/groups/GROUP.")]
    seconds: Annotated[float | None, Field(description="Estimated; null while the model's pace isn't known.")]


@dataclass(frozen=True, slots=True)
class Queued:
    """Ids of a queued group and of its jobs, in the order of its pictures; all None in a dry run."""

    id: str | None
    group: str | None
    jobs: tuple[str | None, ...]


def group_requester(caller: Caller, model: str | None, dry_run: bool, exchange: tuple[Request, Response]) -> Requester:
    """The sender of a group; a caller without an owner gets one unless it is a dry run.

    Raises HTTPException 501 if the GPU is borrowed per call, because a group takes longer than a call.
    """
    studio = caller.studio
    if studio.borrows_gpu:
        raise HTTPException(501)
    owner = caller.owner if dry_run else ensure_owner(caller, *exchange)
    return Requester(owner, model or studio.default_model, caller.language, caller.local)


def check_masks(caller: Caller, requester: Requester, settings: Iterable[object]) -> None:
    """Decode the masks of start pictures before planning, for which others wait; planning reports errors."""
    for each in settings:
        start = each.get("start") if isinstance(each, dict) else None
        with suppress(RequestError):
            asked = None if start is None else parse_as(StartPicture, start)
            caller.studio.inputs.check(asked, requester.owner, trusted=requester.trusted)


def queue_group(caller: Caller, many: PlannedGroup, requester: Requester, dry_run: bool, name: str = "") -> Queued:
    """Queue a planned group under ``name``; a dry run queues nothing."""
    if dry_run:
        return Queued(None, None, (None,) * len(many.items))
    record = start(caller.studio, many, requester, name)
    return Queued(record.id, record.group, tuple(item.job for item in record.items))
