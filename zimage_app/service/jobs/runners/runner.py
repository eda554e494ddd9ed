"""What the dispatcher asks of a runner, and what a runner tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Picture
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.service.jobs.progress import RunEvent
from zimage_app.service.jobs.stop import StopToken
from zimage_app.service.jobs.store import Job

INTERNAL = Text(
    "Something went wrong inside the app; the log says what. Please report it.",
    "程序内部出错，详情见日志，欢迎反馈。",
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that a runner is to make."""

    job: Job
    token: StopToken
    """Says when to stop; asked before every model evaluation."""
    plan: GenerationPlan | None
    """Of the job's request, where it was asked for since the app began."""
    context: Context | None
    """What the run is to happen in, where a GPU is borrowed in a visitor's name."""

    def planned(self, plan: Callable[[GenerationRequest, str], GenerationPlan]) -> GenerationPlan:
        """The plan, which ``plan`` works out where it isn't known; raises StudioError."""
        return self.plan or plan(parse_request(json.loads(self.job.request)), self.job.model)


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """A runner at one moment."""

    kind: str
    """As in ``--runner``."""
    where: str
    """Its device or address."""
    model: str = ""
    """The model that it has loaded; empty where there is none, or that isn't known."""
    trouble: Text | None = None
    """Why it takes no jobs now; None where it does."""


class Reports(Protocol):
    """What a runner tells of its job; safe from any thread. The last report is finished, failed, stopped or died."""

    def loading(self, job_id: str, text: Text) -> None:
        """What is being loaded."""
        ...

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """The model is loaded; the run of ``plan`` begins."""
        ...

    def progressed(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """A step or a stage is over, or there is a warning."""
        ...

    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None:
        """The picture is made. Its file is made and saved while the runner has the next job."""
        ...

    def failed(self, job_id: str, error: StudioError) -> None:
        """There will be no picture; says why."""
        ...

    def stopped(self, job_id: str) -> None:
        """It stopped because its token said so."""
        ...

    def died(self, job_id: str) -> None:
        """The runner itself broke down; it may be given another job."""
        ...


class Runner(Protocol):
    """Makes one picture after another, on a device of its own."""

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """Make a picture; returns at once. Not called again before the last report of the job before."""
        ...

    def status(self) -> RunnerStatus:
        """What it is and has now; at once, from any thread."""
        ...

    def close(self, seconds: float) -> None:
        """Take no more jobs; wait so long for the end of the present one."""
        ...
