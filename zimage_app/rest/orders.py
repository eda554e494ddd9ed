"""What batches and grids have in common: who asks, and what was queued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from zimage_app.rest.caller import Caller, told_owner
from zimage_app.service.group_orders import Asker, Many, start


class GroupAnswer(BaseModel):
    """A group of pictures: queued, or in a dry run only planned."""

    id: Annotated[str | None, Field(description="For GET /api/groups/ID; null in a dry run.")]
    group: Annotated[str | None, Field(description="To be given to DELETE /api/queue/groups/GROUP.")]
    seconds: Annotated[float | None, Field(description="Estimated; null while the model's pace isn't known.")]


@dataclass(frozen=True, slots=True)
class Queued:
    """The names of a group that was queued and of its jobs, in the order of its pictures; all None in a dry run."""

    id: str | None
    group: str | None
    jobs: tuple[str | None, ...]


def group_asker(caller: Caller, model: str | None, dry_run: bool, exchange: tuple[Request, Response]) -> Asker:
    """Who asks for a group; a caller without an owner is given one where something is queued.

    Raises HTTPException 501 where pictures are made within a borrowed GPU's call, which a group outlives.
    """
    studio = caller.studio
    if studio.borrows_gpu:
        raise HTTPException(501)
    owner = caller.owner if dry_run else told_owner(caller, *exchange)
    return Asker(owner, model or studio.default_model, caller.language)


def queue_group(caller: Caller, many: Many, asker: Asker, dry_run: bool, name: str = "") -> Queued:
    """Queue a planned group under a name; in a dry run, nothing."""
    if dry_run:
        return Queued(None, None, (None,) * len(many.items))
    record = start(caller.studio, many, asker, name)
    return Queued(record.id, record.group, tuple(item.job for item in record.items))
