"""Which job goes to which runner: models are not loaded in vain, and nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zimage_app.service.jobs.job_scheduler import MAX_SKIPS, Scheduler
from zimage_app.service.jobs.store import Job


def jobs(models: str) -> list[Job]:
    """One for each letter, which is its model."""
    return [Job(f"{number}{model}", "", model, "", 1.0) for number, model in enumerate(models)]


def test_a_runner_gets_the_first_job_of_its_model() -> None:
    runner, job = Scheduler[str](2).choose(jobs("aabb"), {"left": "b"})
    assert (runner, job.id) == ("left", "2b")


def test_the_first_job_goes_to_whom_has_its_model() -> None:
    runner, job = Scheduler[str](2).choose(jobs("ab"), {"left": "b", "right": "a"})
    assert (runner, job.id) == ("right", "0a")


def test_where_nobody_has_a_model_an_empty_runner_loads_it() -> None:
    runner, job = Scheduler[str](2).choose(jobs("ab"), {"left": "c", "right": ""})
    assert (runner, job.id) == ("right", "0a")


def test_one_runner_alone_keeps_the_turns() -> None:
    runner, job = Scheduler[str](1).choose(jobs("ab"), {"only": "b"})
    assert (runner, job.id) == ("only", "0a")


@given(st.text("abc", min_size=1, max_size=60), st.lists(st.sampled_from("abc"), min_size=2, max_size=3))
def test_no_job_is_passed_over_more_often_than_it_may_be(models: str, loaded: list[str]) -> None:
    waiting, scheduler = jobs(models), Scheduler[int](len(loaded))
    runners = dict(enumerate(loaded))
    begun = 0
    while waiting:
        first = waiting[0]
        runner, job = scheduler.choose(waiting, runners)
        runners[runner] = job.model
        waiting.remove(job)
        begun = 0 if job is first else begun + 1
        assert begun <= MAX_SKIPS
