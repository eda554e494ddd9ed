"""Who runs a job, how often, and for how long: other programs, crashes, time limits, lost files."""

from __future__ import annotations

import errno
import itertools
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.service.faults import expect_done, pixels
from tests.service.quick import MODEL, PATIENCE, QuickStudio, drawn, finish, plan_of, quick_request
from zimage_app.domain.errors import GenerationError, StorageError
from zimage_app.domain.events import StageDone, StageStarted, StepDone, Warned
from zimage_app.domain.text import Text
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.folder_lock import FolderInUse, FolderLock, running_app
from zimage_app.service.jobs.progress import LiveJob
from zimage_app.service.jobs.state import JobEvent, JobState
from zimage_app.service.jobs.store import STORE_NAME, Job, JobStore
from zimage_app.service.jobs.view import JobView, QueueView
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import StudioConfig


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickStudio]:
    with closing(QuickStudio(tmp_path, pause=0.01)) as studio:
        yield studio


def interrupted(outputs: Path, name: str, seed: int, attempts: int = 1) -> None:
    """Leave a job that a program has begun so many times before it crashed."""
    with closing(JobStore(StudioConfig(outputs=outputs).state)) as store:
        request = plan_of(quick_request(seed)).request.model_dump_json()
        store.add([Job(name, "", MODEL, request, 100.0)], PRIVATE_LIMITS)
        for turn in range(attempts):
            if turn:
                assert store.apply([name], JobEvent.REQUEUE)
            assert store.apply([name], JobEvent.CLAIM)
            assert store.apply([name], JobEvent.START)


def until_running(studio: QuickStudio, job: str) -> None:
    view = studio.wait(job, -1, 0.0)
    while view.state != "running":
        view = studio.wait(job, view.version, 5.0)


def test_strangers_are_told_no_folders_while_a_job_loads_and_runs(tmp_path: Path) -> None:
    rules = JobRules(PRIVATE_LIMITS, shared=True, folders=(Path("/srv/John Smith"),))
    dispatcher = Dispatcher(tmp_path / ".state", Gallery(tmp_path), [], rules)
    plan = plan_of(quick_request(1))
    dispatcher.progress.put(LiveJob(JobView("a", "", MODEL, state=JobState.LOADING), plan))
    dispatcher.loading("a", Text("loading /srv/John Smith/models/x.gguf"))
    dispatcher.progressed("a", Warned((Text("/srv/John Smith/loras/ink.safetensors is damaged"),)), plan)
    view = dispatcher.view("a")
    assert view is not None
    assert view.loading == Text("loading …/x.gguf")
    assert view.warnings == (Text("…/ink.safetensors is damaged"),)
    dispatcher.close()


def test_a_second_app_on_the_same_folder_is_told_where_the_first_one_is(tmp_path: Path, studio: QuickStudio) -> None:
    studio.start()
    other = QuickStudio(tmp_path)
    with pytest.raises(FolderInUse, match=r"already running on .*; use that one"):
        other.start()
    studio.announce("http://127.0.0.1:7999", "key")
    with pytest.raises(FolderInUse, match=r"process \d+, http://127.0.0.1:7999"):
        other.submit(quick_request(1), MODEL)
    note = StudioConfig(outputs=tmp_path).state / "app.json"
    assert note.stat().st_mode & 0o777 == 0o600
    other.close()
    assert finish(studio, studio.submit(quick_request(1), MODEL)).state == "done", "the first one goes on"
    studio.close()
    assert running_app(StudioConfig(outputs=tmp_path).state) is None
    assert not note.exists()
    with closing(QuickStudio(tmp_path)) as last:
        expect_done(finish(last, last.submit(quick_request(9), MODEL)), 9, "船 9")


@pytest.mark.parametrize(
    ("attempts", "rule", "state"),
    [(1, "run again", "done"), (2, "run again", "failed"), (1, "report", "failed")],
)
def test_an_interrupted_job_is_run_again_once_or_reported(
    tmp_path: Path, attempts: int, rule: Literal["run again", "report"], state: str
) -> None:
    interrupted(tmp_path, "job", 5, attempts)
    with closing(QuickStudio(tmp_path, interrupted=rule)) as studio:
        studio.start()
        view = finish(studio, "job")
        assert view.state == state
        if state == "done":
            expect_done(view, 5, "船 5")
        else:
            assert view.error is not None
            assert view.error.text.en.startswith("Interrupted: the app ended ")
            assert view.error.text.zh.startswith("已中断")


def test_a_stop_that_came_before_the_crash_counts(tmp_path: Path) -> None:
    interrupted(tmp_path, "job", 5)
    with closing(JobStore(StudioConfig(outputs=tmp_path).state)) as store:
        store.refresh()
        assert store.apply(["job"], JobEvent.STOP)
    with closing(QuickStudio(tmp_path)) as studio:
        studio.start()
        assert finish(studio, "job").state == "cancelled"


def test_a_job_that_takes_too_long_ends_and_what_is_finished_stays(tmp_path: Path) -> None:
    limits = replace(PRIVATE_LIMITS, seconds=0.4)
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
    studio.generator.pause = 0.05
    running = studio.submit(quick_request(4, steps=200), MODEL)
    until_running(studio, running)
    waiting, last = (studio.submit(quick_request(seed), MODEL) for seed in (5, 6))
    first, second = (studio.wait(job, -1, 0.0) for job in (waiting, last))
    while first.starts_in is None:  # until the running one has come far enough
        first, second = (studio.wait(job, view.version, 0.1) for job, view in ((waiting, first), (last, second)))
    assert first.starts_in > 0.0
    assert second.starts_in is not None
    assert (first.ahead, second.ahead) == (1, 2)
    studio.cancel(running)


def test_the_address_of_an_app_that_was_killed_is_not_given_for_the_next_ones(tmp_path: Path) -> None:
    killed, started = FolderLock(tmp_path), FolderLock(tmp_path)
    killed.acquire()
    killed.note("http://127.0.0.1:7777", "old")
    killed._lock.release()
    started.acquire()
    try:
        assert running_app(tmp_path) is None
    finally:
        started.release()


def test_the_queue_survives_the_loss_of_its_file(tmp_path: Path, studio: QuickStudio) -> None:
    slow = studio.submit(quick_request(1, steps=60), MODEL)
    jobs = [studio.submit(quick_request(seed), MODEL) for seed in (2, 3)]
    until_running(studio, slow)
    for path in StudioConfig(outputs=tmp_path).state.glob(f"{STORE_NAME}*"):
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


def test_a_pause_and_the_order_outlive_a_kill(tmp_path: Path) -> None:
    """What the page's panel does: pause, move the second up, cancel the third; then the app dies."""
    with closing(QuickStudio(tmp_path)) as studio:
        studio.pause_queue(True)
        first, second, third = (studio.submit(quick_request(seed), MODEL) for seed in (1, 2, 3))
        assert studio.move(second)
        studio.cancel(third)
        assert [view.id for view in studio.jobs("", shared=False)] == [second, first]
        assert studio.queue() == QueueView(0, 2, paused=True)
    with closing(QuickStudio(tmp_path)) as again:
        again.start()
        assert again.queue() == QueueView(0, 2, paused=True)
        again.pause_queue(False)
        views = [finish(again, job) for job in (second, first)]
        created = [view.picture.record.created for view in views if view.picture]
        assert created == sorted(created)
        assert finish(again, third).state == "cancelled"


def test_a_group_is_cancelled_as_one(studio: QuickStudio) -> None:
    slow = studio.submit(quick_request(1, steps=100), MODEL, group="grid")
    until_running(studio, slow)
    jobs = [studio.submit(quick_request(seed), MODEL, group="grid") for seed in (2, 3)]
    other = studio.submit(quick_request(4), MODEL)
    assert studio.cancel_group("", "", shared=False) == 0, "those that stand alone are no group"
    assert studio.cancel_group("grid", "", shared=False) == 3
    assert [finish(studio, job).state for job in (slow, *jobs, other)] == ["cancelled"] * 3 + ["done"]


def test_strangers_change_only_what_is_theirs(tmp_path: Path) -> None:
    with closing(QuickStudio(tmp_path, shared=True)) as studio:
        studio.pause_queue(True)
        mine, theirs = studio.submit(quick_request(1), MODEL, "me"), studio.submit(quick_request(2), MODEL, "them")
        nobodys = studio.submit(quick_request(3), MODEL)
        assert studio.clear_queue("", shared=True) == 0
        assert studio.clear_queue("me", shared=True) == 1
        assert [studio.wait(job, -1, 0.0).state for job in (mine, theirs, nobodys)] == [
            "cancelled",
            "waiting",
            "waiting",
        ]
        assert [view.id for view in studio.jobs("them", shared=True)] == [theirs]
        assert studio.jobs("", shared=True) == ()


def test_a_runner_that_dies_gets_the_job_again_and_the_second_death_is_reported(tmp_path: Path) -> None:
    with closing(QuickStudio(tmp_path)) as studio:
        deaths = iter((SystemExit(), None, SystemExit(), SystemExit()))

        def die(event: object) -> None:
            if isinstance(event, StageDone) and (death := next(deaths)) is not None:
                raise death

        studio.generator.failure = die
        expect_done(finish(studio, studio.submit(quick_request(1), MODEL)), 1, "船 1")
        view = finish(studio, studio.submit(quick_request(2), MODEL))
        assert view.state == "failed"
        assert view.error is not None
        assert "twice" in view.error.text.en
        studio.generator.failure = None
        assert finish(studio, studio.submit(quick_request(3), MODEL)).state == "done"


def test_a_store_that_fails_for_a_while_loses_no_job_and_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six clients while every other write fails, then all goes well: each job that was accepted is made, once."""
    with closing(QuickStudio(tmp_path)) as studio:
        finish(studio, studio.submit(quick_request(0), MODEL))
        apply, calls = JobStore.apply, itertools.count()

        def failing(store: JobStore, *given: Any, **named: Any) -> list[Job]:
            if next(calls) % 2:
                raise StorageError(Text("the disk is full", "磁盘已满"))
            return apply(store, *given, **named)

        monkeypatch.setattr(JobStore, "apply", failing)

        def client(number: int) -> dict[str, int]:
            accepted = {}
            for turn in range(10):
                seed = 100 * (number + 1) + turn
                with suppress(StorageError):
                    accepted[studio.submit(quick_request(seed), MODEL, str(number))] = seed
            return accepted

        with ThreadPoolExecutor(6) as pool:
            accepted = {job: seed for found in pool.map(client, range(6)) for job, seed in found.items()}
        monkeypatch.setattr(JobStore, "apply", apply)
        assert accepted
        for job, seed in accepted.items():
            expect_done(finish(studio, job), seed, f"船 {seed}")
        assert len(list(tmp_path.glob("*/*.png"))) == len(accepted) + 1


def test_an_app_that_starts_without_its_file_takes_it_and_its_jobs_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else can, meanwhile or afterwards: the lock comes first."""
    interrupted(tmp_path, "before", 5)
    monkeypatch.setattr("zimage_app.service.storage.database._RETRY_SECONDS", 0.0)
    acquire = FolderLock.acquire

    writable = threading.Event()

    def refused(lock: FolderLock) -> None:
        if not writable.is_set():
            raise PermissionError(errno.EACCES, "not yet")
        acquire(lock)

    monkeypatch.setattr(FolderLock, "acquire", refused)
    with closing(QuickStudio(tmp_path)) as studio:
        mine = finish(studio, studio.submit(quick_request(1), MODEL))
        assert mine.state == "done"
        assert "kept in memory" in studio.warnings()[0].en
        writable.set()
        assert finish(studio, studio.submit(quick_request(2), MODEL)).state == "done"
        expect_done(finish(studio, "before"), 5, "船 5")
        assert studio.warnings() == ()
        with pytest.raises(FolderInUse):
            QuickStudio(tmp_path).start()


def test_the_model_is_changed_between_jobs_only(studio: QuickStudio) -> None:
    """Unload while one job follows another: no run ever sees the slot being emptied under it."""
    inside, overlaps = threading.Event(), []
    studio.generator.failure = lambda event: inside.set() if isinstance(event, StageStarted) else None
    clear = studio._slots[0].clear

    def watched() -> None:
        overlaps.append(studio.generator._turn.locked())
        clear()

    studio._slots[0].clear = watched  # type: ignore[method-assign]
    jobs = [studio.submit(quick_request(seed, steps=10), MODEL) for seed in range(5)]
    for _ in range(3):
        assert inside.wait(PATIENCE)
        inside.clear()
        studio.unload()
    assert [finish(studio, job).state for job in jobs] == ["done"] * 5
    assert overlaps == [False] * 3


def test_nothing_touches_the_disk_between_two_evaluations(studio: QuickStudio) -> None:
    finish(studio, studio.submit(quick_request(0), MODEL))
    opened: list[str] = []

    def note(event: str, given: tuple[object, ...]) -> None:
        if threading.current_thread().name == "studio-runner" and event.startswith(("open", "sqlite3")):
            opened.append(f"{event} {given}")

    auditing = [note]
    sys.addaudithook(lambda event, given: auditing[0](event, given) if auditing else None)
    running = threading.Event()
    studio.generator.failure = lambda event: running.set() if isinstance(event, StepDone) else None
    job = studio.submit(quick_request(1, steps=50), MODEL)
    assert running.wait(PATIENCE)
    opened.clear()
    studio.cancel(job)
    assert finish(studio, job).state == "cancelled"
    auditing.clear()
    assert opened == []
