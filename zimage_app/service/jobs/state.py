"""The state machine of a job: its states, events and table of transitions (state, event) -> state.

waiting -> loading -> running -> saving -> done, or failed, or cancelled. A running job returns to waiting if the app
ends or its runner dies. An event without a transition from the current state came too late, and is ignored.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """State of a job."""

    WAITING = "waiting"
    LOADING = "loading"
    """A runner has the job and loads the model."""
    RUNNING = "running"
    STOPPING = "stopping"
    """The job is cancelled, but its runner has not stopped yet."""
    SAVING = "saving"
    """The picture is finished; its file is not on the disk yet."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """Event of a job."""

    CLAIM = "claim"
    """A free runner takes the job."""
    START = "start"
    """The model is loaded."""
    STOP = "stop"
    """A user cancels the job."""
    FINISH = "finish"
    """The picture is finished."""
    SAVE = "save"
    """The picture's file is on the disk."""
    FAIL = "fail"
    CANCEL = "cancel"
    """The runner has stopped after STOP."""
    REQUEUE = "requeue"
    """The app ended or the runner crashed before the job was done."""


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

ACTIVE = frozenset({S.LOADING, S.RUNNING, S.STOPPING, S.SAVING})
"""A runner has the job, or its picture is being saved."""
FINAL = frozenset({S.DONE, S.FAILED, S.CANCELLED})
"""Final states."""
