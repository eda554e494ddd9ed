"""The interfaces between dispatcher and runners."""

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
    """A job for a runner."""

    job: Job
    token: StopToken
    """Says whether to stop; checked before every model evaluation."""
    plan: GenerationPlan | None
    """The job's plan; None if the job is from before a restart."""
    context: Context | None
    """The context to run in, if a GPU is borrowed in a visitor's name."""
    upcoming: tuple[GenerationPlan, ...] = ()
    """Plans of the next waiting jobs with the same model."""

    def planned(self, plan: Callable[[GenerationRequest, str], GenerationPlan]) -> GenerationPlan:
        """Return the job's plan, made by ``plan`` if there is none yet; raises StudioError."""
        return self.plan or plan(parse_request(json.loads(self.job.request)), self.job.model)


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """The state of a runner at one moment."""

    kind: str
    """The kind's name in ``--runner``."""
    where: str
    """The runner's device or address."""
    model: str = ""
    """The loaded model; empty if there is none or it isn't known."""
    trouble: Text | None = None
    """Why the runner takes no jobs now; None if it does."""


class Reports(Protocol):
    """A runner's reports on its job. Thread-safe. The last report is finished, failed, stopped or crashed."""

    def loading(self, job_id: str, text: Text) -> None:
        """Report what is being loaded."""
        ...

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """Report that the model is loaded and the run of ``plan`` starts."""
        ...

    def progressed(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """Report an event of the run."""
        ...

    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None:
        """Report the finished picture. Its file is encoded and saved while the runner has the next job."""
        ...

    def failed(self, job_id: str, error: StudioError) -> None:
        """Report that there will be no picture, and why."""
        ...

    def stopped(self, job_id: str) -> None:
        """Report that the job ended because of its stop token, or was not started."""
        ...

    def crashed(self, job_id: str) -> None:
        """Report that the runner crashed or lost the job; it can take another one."""
        ...


class Runner(Protocol):
    """Makes pictures one after another, on its own device."""

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """Start a job and return at once. Not called again before the last report of the previous job."""
        ...

    def status(self) -> RunnerStatus:
        """Return the current status at once. Thread-safe."""
        ...

    def close(self, seconds: float) -> None:
        """Accept no more jobs; wait up to ``seconds`` for the current one to end."""
        ...
