"""Base class of runners whose pictures another program makes; it may become unreachable at any time."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from zimage_app.domain.errors import GenerationError, LoadingCancelled, StudioError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports, RunnerStatus
from zimage_app.service.jobs.runners.work_thread import WorkThread
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import Gallery

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteDependencies:
    """Dependencies of remote runners."""

    plan: Callable[[GenerationRequest, str], GenerationPlan]
    """Plans a request for a model; raises StudioError."""
    source: Callable[[str], ModelSource]
    """Returns a model by its name; its files need not be on this machine. Raises ModelError."""
    loras: LoraLibrary
    inputs: PictureInputs
    gallery: Gallery
    """Stores the stage pictures."""

    def resolved_plan(self, assignment: Assignment) -> tuple[GenerationPlan, tuple[Text, ...]]:
        """Return a job's plan, with the full names and hashes of its LoRAs, and warnings; raises StudioError.

        The warnings name LoRAs whose files are not those that the request names by their hashes.
        """
        return self.loras.resolve_plan(assignment.planned(self.plan), assignment.token)


class Unreachable(Exception):
    """The other program doesn't respond, or no longer knows the job."""


class RemoteRunner(ABC):
    """Sends jobs, one after another, to another program. It takes no jobs while the program is unreachable."""

    KIND: ClassVar[str]
    """The kind's name in ``--runner``."""

    def __init__(self, dependencies: RemoteDependencies, where: str, retry_interval: float) -> None:
        """``where`` is the name shown to users; ``retry_interval`` is the interval of health checks in seconds."""
        self._dependencies = dependencies
        self._retry_interval = retry_interval
        self._where = where
        self._model = ""
        self._sent = False
        """Whether the other program has the current job."""
        self._trouble: Text | None = None
        self._thread = WorkThread(f"studio-{self.KIND}-{where}")
        self._closing = threading.Event()

    def status(self) -> RunnerStatus:
        """See ``Runner.status``."""
        return RunnerStatus(self.KIND, self._where, self._model, self._trouble)

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner.start``."""
        self._thread.submit(partial(self._make, assignment, reports))

    def close(self, seconds: float) -> None:
        """See ``Runner.close``."""
        self._closing.set()
        self._thread.close(seconds)

    @abstractmethod
    def _run(self, assignment: Assignment, reports: Reports) -> None:
        """Have a job made and report its end; set ``_sent`` when it is sent. Raises StudioError or Unreachable."""

    @abstractmethod
    def _is_alive(self) -> bool:
        """Return whether the other program responds now."""

    @abstractmethod
    def _unreachable_text(self, reason: str) -> Text:
        """Return the message for users that the program is unreachable for this reason."""

    def _make(self, assignment: Assignment, reports: Reports) -> None:
        """Run a job, and catch every error in it."""
        job, self._sent = assignment.job.id, False
        try:
            self._run(assignment, reports)
        except LoadingCancelled:
            reports.stopped(job)
        except StudioError as error:
            reports.failed(job, error)
        except Unreachable as error:
            self._lost(str(error))
            # An unsent job can simply be requeued; the state of a sent job is unknown, so it counts as interrupted.
            (reports.crashed if self._sent else reports.stopped)(job)
        except Exception:
            log.exception("job %s failed on %s", job, self._where)
            reports.failed(job, GenerationError(INTERNAL))

    def _lost(self, reason: str) -> None:
        log.warning("%s: %s", self._where, reason)
        self._model = ""
        self._trouble = self._unreachable_text(reason)
        threading.Thread(target=self._wait, name=f"studio-{self.KIND}-health", daemon=True).start()

    def _wait(self) -> None:
        while not self._closing.wait(self._retry_interval):
            if self._is_alive():
                self._trouble = None
                return
