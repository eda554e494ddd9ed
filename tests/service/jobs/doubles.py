"""Runners that do what a test says, and what it takes to have a core without threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from tests.service.quick import MODEL, drawn, plan_of, quick_request, record_of
from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Picture
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.service.jobs.core import JobCore, JobRules
from zimage_app.service.jobs.progress import LiveJob, Progress, RunEvent
from zimage_app.service.jobs.runners.runner import Assignment, Reports, RunnerStatus
from zimage_app.service.jobs.store import Job, JobStore
from zimage_app.service.jobs.view import JobView, stage_views
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.rules.limits import PRIVATE_LIMITS


class FakeClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class HandRunner:
    """Holds the job that it was given until the test says what becomes of it."""

    held: Assignment | None = None
    begun: list[str] = field(default_factory=list)

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner``, here and below."""
        del reports
        assert self.held is None, "two jobs at once"
        self.held = assignment
        self.begun.append(assignment.job.id)

    def status(self) -> RunnerStatus:
        return RunnerStatus("hand", "")

    def close(self, seconds: float) -> None:
        del seconds
        self.held = None

    def let_go(self) -> Assignment:
        """The job, which it has no more."""
        held, self.held = self.held, None
        assert held is not None
        return held


class NoReports:
    """For runners whose reports the test makes itself."""

    def loading(self, job_id: str, text: Text) -> None: ...
    def started(self, job_id: str, plan: GenerationPlan) -> None: ...
    def progressed(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None: ...
    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None: ...
    def failed(self, job_id: str, error: StudioError) -> None: ...
    def stopped(self, job_id: str) -> None: ...
    def crashed(self, job_id: str) -> None: ...


def at_once(work: Callable[[], bytes]) -> Future[bytes]:
    """Packs a picture without a thread."""
    future: Future[bytes] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  # the future raises it, as one of a thread does
        future.set_exception(error)
    return future


class Bench:
    """A core on a folder, driven by hand."""

    def __init__(self, outputs: Path, runners: int = 1, rules: JobRules | None = None) -> None:
        self.store = JobStore(outputs / ".state")
        self.store.refresh()
        self.gallery = Gallery(outputs)
        self.clock = FakeClock()
        self.progress = Progress(self.clock)
        self.runners: Sequence[HandRunner] = [HandRunner() for _ in range(runners)]
        self.core = JobCore(
            self.store, self.gallery, self.progress, self.runners, rules or JobRules(PRIVATE_LIMITS), at_once
        )

    def submit(self, name: str, seed: int, owner: str = "", group: str = "") -> None:
        """Ask for a picture."""
        plan = plan_of(quick_request(seed))
        job = Job(name, owner, MODEL, plan.request.model_dump_json(), 100.0, group)
        view = JobView(name, owner, MODEL, group=group, stages=stage_views(plan.request))
        self.core.submit([(job, LiveJob(view, plan))])

    def process(self) -> None:
        """What the dispatcher does after every message."""
        self.core.process(NoReports())

    def plan(self, held: Assignment) -> GenerationPlan:
        """What a job's request comes to; after a restart it is worked out again."""
        return held.plan or plan_of(parse_request(json.loads(held.job.request)))

    def finish(self, runner: HandRunner) -> ImageRecord:
        """Let a runner's picture be finished."""
        held = runner.let_go()
        request = self.plan(held).request
        record = record_of(self.plan(held), MODEL)
        assert isinstance(request.seed, int)
        picture = drawn(request.seed, request.prompt)
        self.core.finished(held.job.id, record, picture)
        return record

    def view(self, name: str) -> JobView:
        """A job as the faces see it."""
        view = self.progress.view(name)
        assert view is not None
        return view
