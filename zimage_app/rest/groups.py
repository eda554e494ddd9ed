"""Queued batches and grids: their progress, manifest, pictures and sheets."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import AwareDatetime, BaseModel, Field

from zimage_app.domain.text import Text
from zimage_app.rest.bodiless import StoredFile
from zimage_app.rest.caller import Caller, CurrentCaller
from zimage_app.rest.problems import NotFoundError
from zimage_app.service.groups import GroupView
from zimage_app.service.rules.permissions import may_see

router = APIRouter(prefix="/groups", tags=["groups"])

_LISTED = 50
_KINDS: dict[str, object] = {"image/png": {}, "text/html": {}, "text/plain": {}}
_NONE = Text("There is no such group, or no such file in it.", "没有这一组，或其中没有这个文件。")


class GroupFile(BaseModel):
    """A file of a group."""

    name: str
    download_url: str


class Group(BaseModel):
    """A batch or a grid."""

    id: str
    kind: Literal["batch", "grid"]
    title: Annotated[str, Field(description="The name of its file, or its prompt.")]
    group: Annotated[str, Field(description="To be given to DELETE /api/queue/groups/GROUP.")]
    created_at: AwareDatetime
    total: Annotated[int, Field(description="Pictures that were asked for.")]
    done: int
    failed: int
    cancelled: int
    finished: Annotated[bool, Field(description="All files are there that will be.")]
    tasks: list[str]
    files: Annotated[list[GroupFile], Field(description="The manifest; of a finished grid, its sheets and a page.")]


def _own(group_id: Annotated[str, Path(max_length=64)], caller: CurrentCaller) -> GroupView:
    view = caller.studio.groups.find(group_id, lambda mark: _visible(caller, mark))
    if view is None:
        raise NotFoundError(_NONE)
    return view


OwnGroup = Annotated[GroupView, Depends(_own)]


@router.get("")
def groups(caller: CurrentCaller) -> list[Group]:
    """List the caller's newest groups."""
    return [_answer(view) for view in caller.studio.groups.newest(lambda mark: _visible(caller, mark), _LISTED)]


@router.get("/{group_id}")
def group(view: OwnGroup) -> Group:
    """Get a group's progress and files."""
    return _answer(view)


@router.delete("/{group_id}")
def remove(view: OwnGroup, caller: CurrentCaller) -> Group:
    """Delete the folder of a finished group with its sheets; its pictures stay in the history."""
    caller.studio.groups.remove(view)
    return _answer(view)


@router.get("/{group_id}/{name}", response_class=StoredFile, responses={200: {"content": _KINDS}})
def file(view: OwnGroup, name: Annotated[str, Path(max_length=200)], caller: CurrentCaller) -> StoredFile:
    """Download a file of a group: one from its list, or a cell's picture as in x1-y2-z1.png."""
    path = caller.studio.groups.file(view, name)
    if path is None:
        raise NotFoundError(_NONE)
    return StoredFile(path)


def _visible(caller: Caller, mark: str) -> bool:
    return may_see(mark, caller.owner, shared=caller.stranger)


def _answer(view: GroupView) -> Group:
    record = view.record
    return Group(
        id=record.id,
        kind=record.kind,
        title=record.title,
        group=record.group,
        created_at=record.created,
        total=len(record.items),
        done=view.done,
        failed=view.failed,
        cancelled=view.cancelled,
        finished=view.finished,
        tasks=[item.job for item in record.items],
        files=[GroupFile(name=name, download_url=f"/api/groups/{record.id}/{name}") for name in view.files],
    )
