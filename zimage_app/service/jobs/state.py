"""The states of a job and the table of transitions: (state, event) -> state. Pure; the first thing to read.

waiting -> loading -> running -> saving -> done, or failed, or cancelled. What runs waits again when the program ends or
its runner dies. A pair that the table lacks is refused: the event comes too late and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    LOADING = "loading"
    """A runner has it and gets the model ready."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It is to be cancelled, and its runner has not stopped yet."""
    SAVING = "saving"
    """The picture is made; its file is not on the disk yet."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What happens to a job."""

    CLAIM = "claim"
    """A free runner takes it."""
    START = "start"
    """The model is loaded."""
    STOP = "stop"
    """Somebody cancels it."""
    FINISH = "finish"
    """The picture is made."""
    SAVE = "save"
    """The picture's file is on the disk."""
    FAIL = "fail"
    CANCEL = "cancel"
    """Its runner has stopped, as it was told."""
    REQUEUE = "requeue"
    """The program ended or the runner died before the job was over."""


S, E = JobState, JobEvent

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (S.WAITING, E.CLAIM): S.LOADING,
    (S.WAITING, E.STOP): S.CANCELLED,
    (S.LOADING, E.START): S.RUNNING,
    (S.LOADING, E.STOP): S.STOPPING,
    (S.LOADING, E.CANCEL): S.CANCELLED,
    (S.LOADING, E.FAIL): S.FAILED,
    (S.LOADING, E.REQUEUE): S.WAITING,
    (S.RUNNING, E.STOP): S.STOPPING,
    (S.RUNNING, E.FINISH): S.SAVING,
    (S.RUNNING, E.CANCEL): S.CANCELLED,
    (S.RUNNING, E.FAIL): S.FAILED,
    (S.RUNNING, E.REQUEUE): S.WAITING,
    (S.STOPPING, E.START): S.STOPPING,
    (S.STOPPING, E.FINISH): S.SAVING,
    (S.STOPPING, E.CANCEL): S.CANCELLED,
    (S.STOPPING, E.FAIL): S.FAILED,
    (S.STOPPING, E.REQUEUE): S.CANCELLED,
    (S.SAVING, E.SAVE): S.DONE,
    (S.SAVING, E.FAIL): S.FAILED,
    (S.SAVING, E.REQUEUE): S.WAITING,
}

AT_WORK = frozenset({S.LOADING, S.RUNNING, S.STOPPING, S.SAVING})
"""A runner has the job, or its picture is being saved."""
OVER = frozenset({S.DONE, S.FAILED, S.CANCELLED})
"""Nothing will change any more."""
