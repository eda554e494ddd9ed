"""The runner of this process: a thread that owns a device and the model loaded on it.

Operations on the model, such as unloading it or changing the device, are commands that this thread runs between jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from zimage_app.domain.errors import GenerationError, LoadingCancelled, StudioError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.text import Text
from zimage_app.service.jobs.runners.run_events import report_run
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports, RunnerStatus
from zimage_app.service.jobs.runners.work_thread import WorkThread
from zimage_app.service.jobs.store import Job
from zimage_app.service.pictures.gallery import Gallery

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import Generator

log = logging.getLogger(__name__)

Result = TypeVar("Result")

KIND = "local"

Where = Callable[[], tuple[str, str]]
"""Returns the names of a device and of the model loaded there."""


@dataclass(frozen=True, slots=True)
class LocalDependencies:
    """Dependencies of local runners."""

    plan: Callable[[GenerationRequest, str], GenerationPlan]
    """Plans a request for a model; raises StudioError."""
    model: Callable[[Job, Callable[[Text], None], Callable[[], bool]], Generator]
    """Returns the model of a job, and loads it if necessary; see ``ModelSlot.model``."""
    hash_loras: Callable[[Sequence[LoraUse], Callable[[Text], None], Callable[[], bool]], None]
    """Computes the hashes of the LoRA files, which may take a minute; see ``LoraLibrary.hash_files``."""
    gallery: Gallery
    """Stores the stage pictures."""


class LocalRunner:
    """Runs jobs and commands one after another in a thread, which starts with the first of them."""

    def __init__(self, dependencies: LocalDependencies, where: Where | None = None) -> None:
        """``where`` returns the runner's device and the model loaded there."""
        self._dependencies = dependencies
        self._where = where or (lambda: ("", ""))
        self._thread = WorkThread("studio-runner")

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner.start``."""
        self._thread.submit(lambda: self._make(assignment, reports))

    def command(self, work: Callable[[], Result]) -> Future[Result]:
        """Run ``work`` between jobs. Cancelling the future before it starts prevents it."""
        future: Future[Result] = Future()

        def carry_out() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001  # raised in the thread that gave the command
                future.set_exception(error)

        self._thread.submit(carry_out)
        return future

    def status(self) -> RunnerStatus:
        """See ``Runner.status``."""
        return RunnerStatus(KIND, *self._where())

    def close(self, seconds: float) -> None:
        """See ``Runner.close``."""
        self._thread.close(seconds)

    def _make(self, assignment: Assignment, reports: Reports) -> None:
        """Run a job, and catch every error in it so that the next job still runs."""
        job_id = assignment.job.id
        try:
            if assignment.context is None:
                self._run(assignment, reports)
            else:
                assignment.context.run(self._run, assignment, reports)
        except LoadingCancelled:
            reports.stopped(job_id)
        except StudioError as error:
            reports.failed(job_id, error)
        except Exception:
            log.exception("job %s failed", job_id)
            reports.failed(job_id, GenerationError(INTERNAL))
        except BaseException:  # not an error of the run, such as SystemExit
            log.exception("the runner broke down in job %s", job_id)
            reports.crashed(job_id)

    def _run(self, assignment: Assignment, reports: Reports) -> None:
        job, token, dependencies = assignment.job, assignment.token, self._dependencies
        plan = assignment.planned(dependencies.plan)
        tell = partial(reports.loading, job.id)
        generator = dependencies.model(job, tell, token)
        dependencies.hash_loras(plan.request.loras, tell, token)
        reports.started(job.id, plan)
        with closing(generator.stream(plan, token, assignment.upcoming)) as events:
            report_run(events, job.id, plan, dependencies.gallery, reports)
