"""The queue as a whole: what is in it, pause and resume it, cancel many tasks at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from zimage_app.rest.answers import queue_answer
from zimage_app.rest.caller import Caller, Calling
from zimage_app.rest.contract import MAX_GROUP
from zimage_app.rest.schema import Cancelled, Queue
from zimage_app.service.rules.permissions import require_home

router = APIRouter(prefix="/queue", tags=["queue"])


@router.get("")
def queue(caller: Calling) -> Queue:
    """What runs and waits; among strangers, only the caller's tasks are listed."""
    return queue_answer(caller.studio.queue(), caller.studio.jobs(caller.owner, shared=caller.stranger))


@router.post("/pause")
def pause(caller: Calling) -> Queue:
    """Let no waiting task begin; what runs goes on. Stays so when the app is started again."""
    return _paused(caller, True)


@router.post("/resume")
def resume(caller: Calling) -> Queue:
    """Let waiting tasks begin again."""
    return _paused(caller, False)


@router.delete("")
def clear(caller: Calling) -> Cancelled:
    """Cancel all waiting tasks; among strangers, the caller's."""
    return Cancelled(cancelled=caller.studio.clear_queue(caller.owner, shared=caller.stranger))


@router.delete("/groups/{group}")
def cancel_group(group: Annotated[str, Path(max_length=MAX_GROUP)], caller: Calling) -> Cancelled:
    """Cancel the caller's tasks of one group, waiting or running."""
    return Cancelled(cancelled=caller.studio.cancel_group(group, caller.owner, shared=caller.stranger))


def _paused(caller: Caller, paused: bool) -> Queue:
    require_home("queue", shared=caller.stranger)
    caller.studio.pause_queue(paused)
    return queue(caller)
