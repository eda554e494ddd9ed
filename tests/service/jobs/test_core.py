"""The core of the job system against a model of ten lines: whatever happens in whatever order, nothing is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.service.jobs.doubles import Bench, HandRunner
from zimage_app.domain.errors import GenerationError, StorageError
from zimage_app.domain.events import StepDone
from zimage_app.domain.plan import MAX_UPCOMING
from zimage_app.domain.text import Text
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.state import FINAL, JobState
from zimage_app.service.jobs.stop import StopReason
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.limits import PRIVATE_LIMITS

SEQUENCES = int(os.environ.get("JOB_SEQUENCES", "60"))
BROKEN = StorageError(Text("the disk is full", "磁盘已满"))


class Disk:
    """Lets the calls fail that write jobs or pictures, while it is broken, or every ``each``-th of them."""

    def __init__(self, bench: Bench) -> None:
        self.broken = False
        self.each = 0
        self._calls = 0
        database = bench.store._database
        transaction, write = database.transaction, bench.gallery.write

        @contextmanager
        def failing() -> Iterator[Any]:
            self.strike()
            with transaction() as connection:
                yield connection

        def failing_write(png: bytes, record: Any) -> SavedPicture:
            self.strike()
            return write(png, record)

        database.transaction = failing  # type: ignore[method-assign]
        bench.gallery.write = failing_write  # type: ignore[method-assign]

    def strike(self) -> None:
        """One call; raises where it is to fail."""
        self._calls += 1
        if self.broken or (self.each and self._calls % self.each == 0):
            raise BROKEN


class JobMachine(RuleBasedStateMachine):
    """Two runners, three owners. The model: who was accepted, who was told to stop, how often each was begun."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.accepted: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.begun: dict[str, int] = {}
        self.ended: dict[str, JobState] = {}
        self.paused = False
        self._open()

    def _open(self) -> None:
        self.bench = Bench(self.folder, runners=2)
        self.disk = Disk(self.bench)

    def teardown(self) -> None:
        """Let everything end: then every job that was accepted has ended, and each picture is there once."""
        self.disk.broken, self.disk.each = False, 0
        self.bench.core.pause(False)
        self.paused = False
        for _ in range(10 * len(self.accepted) + 10):
            self._settle()
            for runner in self._busy():
                self._end(runner)
        pictures = [path for path in self.folder.glob("*/*.png") if path.parent.name != ".state"]
        assert len(pictures) == sum(state is JobState.DONE for state in self._states().values())
        for name, state in self._states().items():
            assert state in FINAL, name
            if state is JobState.CANCELLED:
                assert name in self.cancelled
            if state is JobState.FAILED:
                assert self.begun[name] >= 2, "the second death is reported, not the first"
        self.bench.store.close()
        shutil.rmtree(self.folder)

    # What happens.

    @rule(owner=st.sampled_from("abc"))
    def submit(self, owner: str) -> None:
        name = f"job{len(self.accepted) + len(self.ended)}-{owner}"
        if name in self.accepted:
            return
        try:
            self.bench.submit(name, seed=len(self.accepted), owner=owner)
        except StorageError:
            assert self.bench.store.find_open(name) is None, "what was refused is not there"
        else:
            self.accepted[name] = len(self.accepted)
        self._settle()

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.accepted)))
        self.bench.core.stop([name])
        self.cancelled.add(name)
        self._settle()

    @rule(owner=st.sampled_from([None, "a", "b"]))
    def clear(self, owner: str | None) -> None:
        self.cancelled |= {job.id for job in self.bench.store.queued() if owner in (None, job.owner)}
        self.bench.core.clear(owner)
        self._settle()

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), first=st.booleans())
    def move(self, data: st.DataObject, first: bool) -> None:
        with suppress(StorageError):
            self.bench.core.move(data.draw(st.sampled_from(sorted(self.accepted))), first=first)
        self._settle()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        with suppress(StorageError):
            self.bench.core.pause(paused)
            self.paused = paused
        self._settle()

    @rule(number=st.integers(0, 1))
    def runner_starts(self, number: int) -> None:
        held = self.bench.runners[number].held
        if held is not None:
            self.bench.core.started(held.job.id, self.bench.plan(held))
            self._settle()

    @rule(number=st.integers(0, 1))
    def runner_ends(self, number: int) -> None:
        if self.bench.runners[number].held is not None:
            self._end(self.bench.runners[number])
            self._settle()

    @rule(number=st.integers(0, 1))
    def runner_dies(self, number: int) -> None:
        runner = self.bench.runners[number]
        if runner.held is not None:
            self.bench.core.crashed(runner.let_go().job.id)
            self._settle()

    @rule(each=st.integers(2, 7))
    def disk_fails_now_and_then(self, each: int) -> None:
        self.disk.each = each

    @rule()
    def disk_breaks(self) -> None:
        self.disk.broken = True

    @rule()
    def disk_works_again(self) -> None:
        self.disk.broken, self.disk.each = False, 0
        self._settle()

    @rule()
    def killed(self) -> None:
        """What was only in memory is gone: cancellations and pictures that could not be written."""
        self.bench.store.close()
        self._open()
        self.paused = self.bench.store.paused
        self._settle()

    @rule()
    def closed(self) -> None:
        before = dict(self.begun)
        self.bench.core.begin_closing()
        for runner in self._busy():
            held = runner.let_go()
            assert held.token.reason in (StopReason.CLOSING, StopReason.CANCELLED, StopReason.OVERDUE)
            self.bench.core.stopped(held.job.id)
        self.bench.core.end_closing()
        assert self.begun == before
        self.killed()

    @invariant()
    def nobody_is_lost(self) -> None:
        states = self._states()
        assert set(states) == set(self.accepted)
        for name, state in self.ended.items():
            assert states[name] is state, "what has ended stays so"
        self.ended = {name: state for name, state in states.items() if state in FINAL}

    @invariant()
    def the_faces_see_what_is_written(self) -> None:
        for view in self.bench.progress.open_jobs():
            job = self.bench.store.find_open(view.id)
            assert job is not None
            # A finished picture is shown as one that is being saved before the store can be written.
            held = view.state is JobState.SAVING and view.picture is not None and self.bench.core.warning is not None
            assert job.state is view.state or held
        assert self.bench.progress.queue().paused == self.bench.store.paused

    # Parts.

    def _states(self) -> dict[str, JobState]:
        found = {name: self.bench.store.find(name) for name in self.accepted}
        return {name: job.state for name, job in found.items() if job is not None}

    def _busy(self) -> list[HandRunner]:
        return [runner for runner in self.bench.runners if runner.held is not None]

    def _end(self, runner: HandRunner) -> None:
        """As a runner does: it stops where it was told to, else its picture is finished."""
        held = runner.held
        assert held is not None
        if held.token():
            self.bench.core.stopped(runner.let_go().job.id)
            return
        self.bench.core.started(held.job.id, self.bench.plan(held))
        self.bench.finish(runner)

    def _settle(self) -> None:
        before = {id(runner): len(runner.begun) for runner in self.bench.runners}
        with suppress(StorageError):
            self.bench.process()
        for runner in self.bench.runners:
            for name in runner.begun[before[id(runner)] :]:
                self.begun[name] = self.begun.get(name, 0) + 1
                assert not self.paused, "a paused queue begins nothing"


JobMachine.TestCase.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestJobs = JobMachine.TestCase


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def test_a_picture_that_cannot_be_saved_holds_nobody_up_but_a_few(bench: Bench) -> None:
    for number in range(6):
        bench.submit(f"job{number}", number)
    bench.process()
    (runner,) = bench.runners
    write = bench.gallery.write
    bench.gallery.write = _full_disk  # type: ignore[method-assign, assignment]
    for _ in range(4):
        assert runner.held is not None
        bench.core.started(runner.held.job.id, bench.plan(runner.held))
        bench.finish(runner)
        bench.process()
    assert runner.held is None, "as many wait to be saved as may"
    view = bench.view("job0")
    assert view.state is JobState.SAVING
    assert view.picture is not None
    assert bench.core.unsaved(view.picture.record.id, None) == view.picture
    assert bench.core.unsaved(view.picture.record.id, "somebody else") is None
    assert "can be downloaded here" in view.warnings[-1].en
    bench.gallery.write = write  # type: ignore[method-assign]
    bench.process()
    assert [bench.view(f"job{number}").state for number in range(5)] == ["done"] * 4 + ["loading"]
    assert bench.view("job0").warnings == ()
    assert bench.core.warning is None


def test_a_picture_is_shown_while_the_queue_cannot_be_written(bench: Bench) -> None:
    bench.submit("job", 1)
    bench.process()
    (runner,) = bench.runners
    assert runner.held is not None
    bench.core.started("job", bench.plan(runner.held))
    bench.process()
    disk = Disk(bench)
    disk.broken = True
    bench.finish(runner)
    for _ in range(2):
        with pytest.raises(StorageError):
            bench.process()
    view = bench.view("job")
    assert view.state is JobState.SAVING
    assert view.picture is not None
    (warning,) = view.warnings
    assert "can be downloaded here" in warning.en
    assert bench.core.warning == warning
    disk.broken = False
    bench.process()
    saved = bench.view("job")
    assert (saved.state, saved.warnings) == (JobState.DONE, ())
    assert bench.core.warning is None


def test_a_queue_that_cannot_be_written_is_told(bench: Bench) -> None:
    bench.submit("job", 1)
    disk = Disk(bench)
    disk.broken = True
    with pytest.raises(StorageError):
        bench.process()
    assert bench.core.warning == BROKEN.text
    disk.broken = False
    bench.process()
    assert bench.core.warning is None


def _full_disk(*_: object) -> SavedPicture:
    raise BROKEN


def test_a_job_that_runs_too_long_is_stopped_and_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rules=JobRules(replace(PRIVATE_LIMITS, seconds=5.0)))
    bench.submit("job", 1)
    bench.process()
    (runner,) = bench.runners
    held = runner.held
    assert held is not None
    bench.clock.now += 100.0
    bench.process()
    assert not held.token(), "loading has no limit"
    bench.core.started("job", bench.plan(held))
    bench.process()
    bench.clock.now += 5.5
    bench.process()
    assert held.token.reason is StopReason.OVERDUE
    bench.core.stopped(runner.let_go().job.id)
    bench.process()
    view = bench.view("job")
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert view.error.text.en.startswith("Stopped after 5 s")
    bench.store.close()


def test_a_running_job_tells_its_time(bench: Bench) -> None:
    bench.submit("job", 1)
    bench.process()
    (runner,) = bench.runners
    assert runner.held is not None
    bench.clock.now += 2.0
    assert bench.view("job").elapsed == 2.0
    plan = bench.plan(runner.held)
    bench.core.started("job", plan)
    bench.process()
    bench.clock.now += 3.0
    picture = np.zeros((8, 8, 3), np.uint8)
    bench.progress.show("job", StepDone(plan.stages[0], 1, picture), plan)
    view = bench.view("job")
    assert view.elapsed == 3.0
    assert view.progress == pytest.approx(1 / 3)
    assert view.remaining == pytest.approx(6.0)


def test_the_second_death_is_reported(bench: Bench) -> None:
    bench.submit("job", 1)
    (runner,) = bench.runners
    for state in (JobState.LOADING, JobState.FAILED):
        bench.process()
        bench.core.crashed(runner.let_go().job.id)
        bench.process()
        assert bench.view("job").state is state
    error = bench.view("job").error
    assert isinstance(error, GenerationError)
    assert "twice" in error.text.en


def test_a_picture_that_was_on_the_disk_before_the_crash_is_not_made_again(bench: Bench, tmp_path: Path) -> None:
    bench.submit("job", 1)
    bench.process()
    (runner,) = bench.runners
    held = runner.held
    assert held is not None
    bench.core.started("job", bench.plan(held))
    disk = Disk(bench)
    record = bench.finish(runner)
    saved = bench.gallery.write

    def save_then_die(png: bytes, found: object) -> SavedPicture:
        del found
        saved(png, record)
        disk.broken = True
        raise BROKEN

    bench.gallery.write = save_then_die  # type: ignore[method-assign, assignment]
    bench.process()
    bench.store.close()
    again = Bench(tmp_path)
    again.process()
    assert again.runners[0].begun == []
    job = again.store.find("job")
    assert job is not None
    assert (job.state, job.picture) == (JobState.DONE, record.id)
    assert Gallery(tmp_path).find(record.id) is not None
    again.store.close()


def test_two_runners_share_the_queue_in_fair_turns(tmp_path: Path) -> None:
    bench = Bench(tmp_path, runners=2)
    for number in range(4):
        bench.submit(f"a{number}", number, owner="a")
    bench.submit("b0", 9, owner="b")
    bench.process()
    first, second = bench.runners
    assert (first.begun, second.begun) == (["a0"], ["b0"])
    bench.core.crashed(second.let_go().job.id)
    bench.process()
    assert second.begun == ["b0", "b0"], "its owner's turn was not over"
    assert first.held is not None
    bench.core.started("a0", bench.plan(first.held))
    bench.finish(first)
    bench.process()
    assert first.begun == ["a0", "a1"]
    bench.store.close()


def test_a_runner_knows_the_plans_of_the_next_jobs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(MAX_UPCOMING + 3):
        bench.submit(f"job{number}", number)
    bench.process()
    (runner,) = bench.runners
    assert runner.held is not None
    assert [plan.request.seed for plan in runner.held.upcoming] == list(range(1, 1 + MAX_UPCOMING))
    bench.store.close()
    again = Bench(tmp_path)
    again.process()
    assert again.runners[0].held is not None
    assert again.runners[0].held.upcoming == (), "jobs from before a restart are planned when they run"
    again.store.close()


def test_a_group_is_one_cancellation_away(bench: Bench) -> None:
    for number in range(3):
        bench.submit(f"job{number}", number, group="batch" if number else "")
    bench.process()
    bench.core.stop([view.id for view in bench.progress.open_jobs() if view.group == "batch"])
    bench.process()
    assert [view.id for view in bench.progress.open_jobs()] == ["job0"]


def test_a_picture_that_cannot_be_packed_fails_its_job_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise MemoryError

    def made(name: str) -> str:
        held = bench.runners[0].held
        assert held is not None
        bench.core.started(name, bench.plan(held))
        bench.finish(bench.runners[0])
        bench.process()
        return bench.view(name).state

    for number, name in enumerate(("a", "b")):
        bench.submit(name, number)
    bench.process()
    with monkeypatch.context() as patch:
        patch.setattr(bench.gallery, "encoded", broken)
        assert made("a") == "failed"
    assert made("b") == "done"
    assert bench.core.idle
