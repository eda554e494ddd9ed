"""What runners have in common that have their pictures made elsewhere, where nobody may answer at any time."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteMaking:
    """What it takes to have pictures made."""

    plan: Callable[[GenerationRequest, str], GenerationPlan]
    """What a request comes to on a model; raises StudioError."""
    source: Callable[[str], ModelSource]
    """A model by its name; its files need not be here. Raises ModelError."""
    loras: LoraLibrary
    inputs: PictureInputs

    def settled(self, assignment: Assignment) -> GenerationPlan:
        """A job's plan, with the full names and hashes of its LoRAs; raises StudioError."""
        plan = assignment.planned(self.plan)
        uses = [self.loras.settled(use, assignment.token)[0] if use.strength else use for use in plan.request.loras]
        return replace(plan, request=plan.request.model_copy(update={"loras": tuple(uses)}))


class Unreachable(Exception):
    """Nobody answers there, or the job is no longer known there."""


class RemoteRunner(ABC):
    """Has one picture after another made elsewhere, in a thread. It takes no job while nobody answers there."""

    KIND: ClassVar[str]
    """As in ``--runner``."""

    def __init__(self, making: RemoteMaking, where: str, again: float) -> None:
        """``where`` names it for users; ``again`` are the seconds between two looks whether somebody answers again."""
        self._making = making
        self._again = again
        self._where = where
        self._model = ""
        self._sent = False
        """Whether the present job is known there."""
        self._trouble: Text | None = None
        self._thread = WorkThread(f"studio-{self.KIND}-{where}")
        self._closing = threading.Event()

    def status(self) -> RunnerStatus:
        """See ``Runner.status``."""
        return RunnerStatus(self.KIND, self._where, self._model, self._trouble)

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner.start``."""
        self._thread.order(partial(self._make, assignment, reports))

    def close(self, seconds: float) -> None:
        """See ``Runner.close``."""
        self._closing.set()
        self._thread.close(seconds)

    @abstractmethod
    def _run(self, assignment: Assignment, reports: Reports) -> None:
        """Have a job made and report its end; set ``_sent`` once it is known there. Raises StudioError, Unreachable."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether somebody answers now."""

    @abstractmethod
    def _silent(self, reason: str) -> Text:
        """The sentence for users that nobody answers."""

    def _make(self, assignment: Assignment, reports: Reports) -> None:
        """One job; whatever goes wrong in it is caught here."""
        job, self._sent = assignment.job.id, False
        try:
            self._run(assignment, reports)
        except LoadingCancelled:
            reports.stopped(job)
        except StudioError as error:
            reports.failed(job, error)
        except Unreachable as error:
            self._lost(str(error))
            # A job that was not sent is as it was; of one that was sent nobody knows how far it came.
            (reports.died if self._sent else reports.stopped)(job)
        except Exception:
            log.exception("job %s failed on %s", job, self._where)
            reports.failed(job, GenerationError(INTERNAL))

    def _lost(self, reason: str) -> None:
        log.warning("%s: %s", self._where, reason)
        self._model = ""
        self._trouble = self._silent(reason)
        threading.Thread(target=self._wait, name=f"studio-{self.KIND}-health", daemon=True).start()

    def _wait(self) -> None:
        while not self._closing.wait(self._again):
            if self._answers():
                self._trouble = None
                return
