"""Who runs a job, how often, and for how long: other programs, crashes, time limits, lost files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.service.faults import expect_done, pixels
from tests.service.quick import MODEL, QuickStudio, drawn, finish, plan_of, quick_request, record_of
from zimage_app.domain.errors import GenerationError
from zimage_app.service.board import Board, Watched
from zimage_app.service.config import StudioConfig
from zimage_app.service.gallery import Gallery
from zimage_app.service.jobs import Job, JobQueue
from zimage_app.service.limits import HOME
from zimage_app.service.views import JobView


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickStudio]:
    with closing(QuickStudio(tmp_path, pause=0.01)) as studio:
        yield studio


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """The queue as another program sees it."""
    with closing(JobQueue(StudioConfig(outputs=tmp_path).state)) as queue:
        yield queue


def interrupted(queue: JobQueue, name: str, seed: int, attempts: int = 1) -> None:
    """A job that a program has begun so many times before it died."""
    request = plan_of(quick_request(seed)).request.model_dump_json()
    queue.add(Job(name, "", MODEL, request, 100.0), HOME)
    for turn in range(attempts):
        claimed = queue.claim()
        assert claimed is not None
        assert claimed.id == name
        if turn < attempts - 1:
            queue.run_again(name)


def until_running(studio: QuickStudio, job: str) -> None:
    view = studio.wait(job, -1, 0.0)
    while view.state != "running":
        view = studio.wait(job, view.version, 5.0)


def test_a_second_program_hands_its_jobs_to_the_first_and_takes_over(tmp_path: Path, studio: QuickStudio) -> None:
    other = QuickStudio(tmp_path)
    first = finish(studio, studio.submit(quick_request(1), MODEL))
    assert first.state == "done"
    jobs = [other.submit(quick_request(seed), MODEL) for seed in range(2, 6)]
    for seed, job in enumerate(jobs, 2):
        expect_done(finish(other, job), seed, f"船 {seed}")
    assert "Another running copy" in other.warnings()[0].en
    assert studio.warnings() == ()
    assert len(list(tmp_path.glob("*/*.png"))) == 5, "each was made once"
    studio.close()
    expect_done(finish(other, other.submit(quick_request(9), MODEL)), 9, "船 9")
    assert other.warnings() == ()
    other.close()


def test_what_another_program_asks_for_or_stops_is_seen(studio: QuickStudio, queue: JobQueue) -> None:
    slow = studio.submit(quick_request(1, steps=200), MODEL)
    waiting = studio.submit(quick_request(2), MODEL)
    until_running(studio, slow)
    assert queue.stop(waiting) == "cancelled"
    assert queue.stop(slow) == "running"
    assert [finish(studio, job).state for job in (slow, waiting)] == ["cancelled", "cancelled"]
    request = plan_of(quick_request(3)).request.model_dump_json()
    queue.add(Job("from-outside", "", MODEL, request, 100.0), HOME)
    later = studio.submit(quick_request(4), MODEL)  # after which the board knows the other one
    expect_done(finish(studio, "from-outside"), 3, "船 3")
    assert finish(studio, later).state == "done"


def test_a_job_that_another_program_just_took_is_in_its_place_at_once(studio: QuickStudio, queue: JobQueue) -> None:
    request = plan_of(quick_request(3)).request.model_dump_json()
    for name in ("first", "second"):
        queue.add(Job(name, "", MODEL, request, 100.0), HOME)
    views = [studio.view(name) for name in ("second", "first")]
    assert [view and view.ahead for view in views] == [1, 0]


@pytest.mark.parametrize(
    ("attempts", "rule", "state"),
    [(1, "run again", "done"), (2, "run again", "failed"), (1, "report", "failed")],
)
def test_an_interrupted_job_is_run_again_once_or_reported(
    tmp_path: Path, queue: JobQueue, attempts: int, rule: Literal["run again", "report"], state: str
) -> None:
    interrupted(queue, "job", 5, attempts)
    with closing(QuickStudio(tmp_path, interrupted=rule)) as studio:
        studio.resume()
        view = finish(studio, "job")
        assert view.state == state
        if state == "done":
            expect_done(view, 5, "船 5")
        else:
            assert view.error is not None
            assert view.error.text.en.startswith("Interrupted: the app ended ")
            assert view.error.text.zh.startswith("已中断")


def test_a_picture_that_was_saved_before_the_crash_is_not_made_again(tmp_path: Path, queue: JobQueue) -> None:
    interrupted(queue, "job", 5)
    plan = plan_of(quick_request(5))
    record = record_of(plan, MODEL)
    queue.saving("job", record.id)
    saved = Gallery(tmp_path).save(drawn(5, "船 5"), record)
    with closing(QuickStudio(tmp_path)) as studio:
        studio.resume()
        view = finish(studio, "job")
        assert view.picture is not None
        assert view.picture.path == saved.path
        assert list(tmp_path.glob("*/*.png")) == [saved.path]


def test_a_stop_that_came_before_the_crash_counts(tmp_path: Path, queue: JobQueue) -> None:
    interrupted(queue, "job", 5)
    queue.stop("job")
    with closing(QuickStudio(tmp_path)) as studio:
        studio.resume()
        assert finish(studio, "job").state == "cancelled"


def test_a_job_that_takes_too_long_ends_and_what_is_finished_stays(tmp_path: Path) -> None:
    limits = replace(HOME, seconds=0.4)
    with closing(QuickStudio(tmp_path, pause=0.01, limits=limits)) as studio:
        asked = quick_request(1)
        assert asked.stages is not None
        long = asked.stages[0].model_copy(update={"steps": 200})
        view = finish(studio, studio.submit(asked.model_copy(update={"stages": (*asked.stages, long)}), MODEL))
        assert view.state == "failed"
        assert view.error is not None
        assert view.error.text.en.startswith("Stopped after 0.4 s")
        assert "--time-limit" in view.error.text.zh
        assert view.stages[0].preview is not None
        assert finish(studio, studio.submit(quick_request(2), MODEL)).state == "done"


def test_a_waiting_job_says_when_it_will_start(studio: QuickStudio) -> None:
    assert studio.wait(studio.submit(quick_request(1, steps=50), MODEL), -1, 0.0).starts_in in (0.0, None)
    waiting = studio.submit(quick_request(2), MODEL)
    last = studio.submit(quick_request(3), MODEL)
    assert studio.wait(last, -1, 0.0).starts_in is None, "nothing was measured yet"
    finish(studio, last)
    running = studio.submit(quick_request(4, steps=100), MODEL)
    until_running(studio, running)
    waiting, last = (studio.submit(quick_request(seed), MODEL) for seed in (5, 6))
    first, second = (studio.wait(job, -1, 0.0) for job in (waiting, last))
    while first.starts_in is None:  # until the running one has come far enough
        first, second = (studio.wait(job, view.version, 0.1) for job, view in ((waiting, first), (last, second)))
    assert first.starts_in > 0.0
    assert second.starts_in is not None
    assert (first.ahead, second.ahead) == (1, 2)
    studio.cancel(running)


def test_the_queue_survives_the_loss_of_its_file(tmp_path: Path, studio: QuickStudio) -> None:
    slow = studio.submit(quick_request(1, steps=60), MODEL)
    jobs = [studio.submit(quick_request(seed), MODEL) for seed in (2, 3)]
    until_running(studio, slow)
    for path in StudioConfig(outputs=tmp_path).state.glob("queue.sqlite*"):
        path.unlink()
    for seed, job in enumerate((slow, *jobs), 1):
        view = finish(studio, job)
        assert view.picture is not None
        np.testing.assert_array_equal(pixels(view.picture.read()), drawn(seed, f"船 {seed}"))


def test_an_error_inside_the_app_ends_the_job_alone(studio: QuickStudio) -> None:
    def broken(event: object) -> None:
        raise KeyError(event)

    studio.generator.failure = broken
    view = finish(studio, studio.submit(quick_request(1), MODEL))
    assert view.state == "failed"
    assert isinstance(view.error, GenerationError)
    assert "inside the app" in view.error.text.en
    studio.generator.failure = None
    assert finish(studio, studio.submit(quick_request(2), MODEL)).state == "done"


def test_looking_at_a_job_that_just_begins_is_safe() -> None:
    board = Board()
    watched = [Watched(Job(name, "", MODEL, "", 1.0), JobView(name, "", MODEL)) for name in ("first", "second")]
    for each in watched:
        board.put(each)
    board.begin(watched[0])
    views = [board.view(name) for name in ("first", "second")]
    assert [view and view.starts_in for view in views] == [0.0, None]


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_nothing_is_left_of_a_job_that_is_over(state: str) -> None:
    board = Board()
    watched = Watched(Job("job", "", MODEL, "", 1.0), JobView("job", "", MODEL, state="running", progress=0.5))
    watched.started = 0.0
    board.put(watched)
    running = board.view("job")
    assert running is not None
    assert running.remaining
    board.update(watched, state=state)
    over = board.view("job")
    assert over is not None
    assert over.elapsed
    assert over.remaining is None
