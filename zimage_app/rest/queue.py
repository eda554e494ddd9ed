"""The queue as a whole: list it, pause and resume it, cancel many tasks at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from zimage_app.rest.answers import queue_answer
from zimage_app.rest.caller import Caller, CurrentCaller
from zimage_app.rest.contract import MAX_GROUP
from zimage_app.rest.schema import Cancelled, Queue
from zimage_app.service.rules.permissions import refuse_if_shared

router = APIRouter(prefix="/queue", tags=["queue"])


@router.get("")
def queue(caller: CurrentCaller) -> Queue:
    """Get the queue; on a shared app, only the caller's tasks are listed."""
    return queue_answer(caller.studio.queue(), caller.studio.jobs(caller.owner, shared=caller.stranger))


@router.post("/pause")
def pause(caller: CurrentCaller) -> Queue:
    """Pause the queue: no waiting task starts, the running one continues. The pause outlasts a restart of the app."""
    return _paused(caller, True)


@router.post("/resume")
def resume(caller: CurrentCaller) -> Queue:
    """Resume the queue."""
    return _paused(caller, False)


@router.delete("")
def clear(caller: CurrentCaller) -> Cancelled:
    """Cancel all waiting tasks; on a shared app, only the caller's."""
    return Cancelled(cancelled=caller.studio.clear_queue(caller.owner, shared=caller.stranger))


@router.delete("/groups/{group}")
def cancel_group(group: Annotated[str, Path(max_length=MAX_GROUP)], caller: CurrentCaller) -> Cancelled:
    """Cancel the caller's waiting and running tasks of one group."""
    return Cancelled(cancelled=caller.studio.cancel_group(group, caller.owner, shared=caller.stranger))


def _paused(caller: Caller, paused: bool) -> Queue:
    refuse_if_shared("queue", shared=caller.stranger)
    caller.studio.pause_queue(paused)
    return queue(caller)
