"""The table of transitions, every pair of it."""

from __future__ import annotations

import itertools

import pytest

from zimage_app.service.jobs.state import ACTIVE, FINAL, TRANSITIONS, JobEvent, JobState

ORDER = {
    JobState.WAITING: 0,
    JobState.LOADING: 1,
    JobState.RUNNING: 2,
    JobState.STOPPING: 2,
    JobState.SAVING: 3,
    JobState.DONE: 4,
    JobState.FAILED: 4,
    JobState.CANCELLED: 4,
}
ALLOWED = {
    JobState.WAITING: "claim stop",
    JobState.LOADING: "start stop cancel fail requeue",
    JobState.RUNNING: "stop finish cancel fail requeue",
    JobState.STOPPING: "start finish cancel fail requeue",
    JobState.SAVING: "save fail requeue",
    JobState.DONE: "",
    JobState.FAILED: "",
    JobState.CANCELLED: "",
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)))
def test_every_pair_of_state_and_event(state: JobState, event: JobEvent) -> None:
    after = TRANSITIONS.get((state, event))
    assert (after is not None) == (event in ALLOWED[state].split())
    if after is None:
        return
    if event is JobEvent.REQUEUE:
        # What was to be cancelled is not run again.
        assert after is (JobState.CANCELLED if state is JobState.STOPPING else JobState.WAITING)
    else:
        assert ORDER[after] >= ORDER[state], "a job goes forward"


def test_states_are_open_or_final() -> None:
    assert FINAL | ACTIVE | {JobState.WAITING} == set(JobState)
    assert not FINAL & ACTIVE
    assert {state for state, _ in TRANSITIONS} == ACTIVE | {JobState.WAITING}, "what has ended stays so"


def test_every_job_can_come_to_each_end() -> None:
    reached = {JobState.WAITING}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached:
        reached |= more
    assert reached == set(JobState)
