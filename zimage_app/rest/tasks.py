"""Generation tasks: queue, query, watch, move and cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from zimage_app.domain.errors import GenerationError, naming_fields
from zimage_app.domain.many import counted
from zimage_app.domain.text import Text
from zimage_app.domain.upscaling import resized_by, upscaled
from zimage_app.rest.answers import data_uri, task_answer
from zimage_app.rest.caller import CurrentCaller, ensure_owner
from zimage_app.rest.pictures import own_picture
from zimage_app.rest.problems import NotFoundError
from zimage_app.rest.schema import Accepted, GenerateRequest, Progress, Task, UpscaleRequest
from zimage_app.service.jobs.view import JobView
from zimage_app.service.rules.permissions import may_see
from zimage_app.service.studio import new_group

router = APIRouter(tags=["generate"])

_LOOK = 0.1
"""Shortest time in seconds between two events of a task; states in between are skipped."""
_SECONDS_BETWEEN_SIGNS = 1.0


@router.post("/generate")
def generate(body: GenerateRequest, caller: CurrentCaller, request: Request, response: Response) -> Accepted:
    """Queue a picture. Returns at once; poll the task, or watch its events."""
    if caller.studio.borrows_gpu:
        raise HTTPException(501)
    owner = ensure_owner(caller, request, response)
    asked = body.asked
    model = asked.model or caller.studio.default_model
    with naming_fields():
        asked_for, notes = body.request(caller.studio.card(model))
        requests = counted(asked_for, asked.count)
        group = asked.group or (new_group() if asked.count > 1 else "")
        on_cpu = asked.use_gpu is False
        ids = caller.studio.submit_group(requests, model, owner, group, on_cpu=on_cpu, trusted=caller.local)
        said = [note.to(caller.language) for note in notes]
        return Accepted(task_id=ids[0], task_ids=ids, group=group, notes=said)


@router.post("/upscale")
def upscale(body: UpscaleRequest, caller: CurrentCaller, request: Request, response: Response) -> Accepted:
    """Queue the upscaling of a picture: it is enlarged, then lightly redrawn by one stage. Returns at once."""
    if caller.studio.borrows_gpu:
        raise HTTPException(501)
    owner = ensure_owner(caller, request, response)
    studio, asked = caller.studio, body.upscaling
    with naming_fields():
        if asked.picture is not None:
            model = asked.model or studio.default_model
            kept = studio.inputs.kept(asked.picture, owner, trusted=caller.local)
            size = (kept.width, kept.height)
            enlarging = upscaled(None, asked.picture, size, studio.card(model), asked)
        else:
            saved = own_picture(str(asked.image), caller)
            model = asked.model or saved.record.model
            enlarging = studio.upscaled(saved, asked, model, owner)
        task_id = studio.submit(enlarging, model, owner, trusted=caller.local)
    note = resized_by(enlarging).to(caller.language)
    return Accepted(task_id=task_id, task_ids=[task_id], group="", notes=[note])


def _own(task_id: Annotated[str, Path(max_length=64)], caller: CurrentCaller) -> JobView:
    view = caller.studio.view(task_id)
    if view is None or not may_see(view.owner, caller.owner, shared=caller.stranger):
        raise NotFoundError(Text("There is no such task.", "没有这个任务。"))
    return view


OwnTask = Annotated[JobView, Depends(_own)]


@router.get("/generate/{task_id}")
def task(view: OwnTask, caller: CurrentCaller) -> Task:
    """Get a task's progress, and its picture once it is done."""
    return task_answer(view, caller.language)


@router.delete("/generate/{task_id}")
def cancel(view: OwnTask, caller: CurrentCaller) -> Task:
    """Cancel a waiting or running task; a running one stops before its next model evaluation."""
    caller.studio.cancel(view.id)
    return task_answer(caller.studio.view(view.id) or view, caller.language)


@router.post("/generate/{task_id}/move")
def move(view: OwnTask, caller: CurrentCaller, first: bool = False) -> Task:
    """Move a waiting task ahead of the caller's previous task, or of all the caller's tasks (``first``)."""
    caller.studio.move(view.id, first=first)
    return task_answer(caller.studio.view(view.id) or view, caller.language)


@router.get("/generate/{task_id}/events", response_class=EventSourceResponse)
async def events(view: OwnTask, caller: CurrentCaller) -> AsyncIterator[ServerSentEvent]:
    """Watch a task: one ``progress`` event per change, then one ``end``; changes in quick succession are merged.

    A comment each second says that nothing has changed.
    """
    shown: bytes | None = None
    version = -1
    async for seen in _until_ended(view, caller):
        if seen.version == version:
            yield ServerSentEvent(comment="unchanged")  # between two events the client may act, such as cancel the task
            continue
        version = seen.version
        preview = seen.stages[seen.current].preview if seen.stages else None
        answer = Progress(
            **task_answer(seen, caller.language).model_dump(),
            preview=data_uri(preview) if preview and preview is not shown else None,
        )
        shown = preview
        yield ServerSentEvent(data=answer, event="end" if seen.ended else "progress", id=str(version))


async def _until_ended(view: JobView, caller: CurrentCaller) -> AsyncIterator[JobView]:
    """A task's newest states, up to ten per second; the last one is final, unless the app shuts down."""
    if view.ended:  # a task that ended long ago can no longer be watched
        yield view
        return
    with suppress(GenerationError):
        async for seen in caller.studio.watch(view.id, _SECONDS_BETWEEN_SIGNS):
            yield seen
            await asyncio.sleep(_LOOK)
