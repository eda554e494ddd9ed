"""Runs jobs on a worker elsewhere, which may be lost at any time. Knows nothing of Ray; the queue is here."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any, Protocol

from zimage_app.domain.errors import GenerationError, LoadingCancelled, StudioError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.jobs.runners.cluster.worker import Ended, Loading, Made, News, Order
from zimage_app.service.jobs.runners.remote import RemoteMaking
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports, RunnerStatus
from zimage_app.service.jobs.runners.work_thread import WorkThread

log = logging.getLogger(__name__)

KIND = "ray"
CACHE = "~/.cache/zimage-studio"
"""On the workers' machines: what came with jobs."""
_MAX_LORA = 8 * 2**30
"""Bytes."""
_AGAIN = 5.0
"""Seconds between two looks whether a lost worker is back."""


class WorkerLost(Exception):
    """The worker or its machine is gone."""


class Handle(Protocol):
    """A worker elsewhere, by the names of its methods."""

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the method gives; raises WorkerLost."""
        ...

    def share(self, data: bytes) -> Any:
        """A file's contents as an argument that is sent once for all workers."""
        ...


class ClusterRunner:
    """One worker. It takes no job while its worker is lost."""

    def __init__(self, making: RemoteMaking, handle: Handle, name: str, again: float = _AGAIN) -> None:
        self._making = making
        self._handle = handle
        self._again = again
        self._thread = WorkThread(f"studio-{name}")
        self._where, self._model = name, ""
        self._trouble: Text | None = None
        self._closing = threading.Event()
        self._shared: dict[str, Any] = {}
        """Files that were sent, by their SHA-256."""

    def status(self) -> RunnerStatus:
        """See ``Runner.status``."""
        return RunnerStatus(KIND, self._where, self._model, self._trouble)

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner.start``."""
        self._thread.order(partial(self._make, assignment, reports))

    def close(self, seconds: float) -> None:
        """See ``Runner.close``."""
        self._closing.set()
        self._thread.close(seconds)

    def _make(self, assignment: Assignment, reports: Reports) -> None:
        """One job; whatever goes wrong in it is caught here."""
        job, begun = assignment.job.id, False
        try:
            order = self._ordered(assignment)
            for digest in self._handle.ask("lacks", order):
                self._handle.ask("give", order, digest, self._file(order, digest))
            begun = True
            self._handle.ask("begin", order)
            end = self._followed(order, assignment, reports)
            self._where, self._model = self._handle.ask("about")
            self._end(end, assignment, reports)
        except LoadingCancelled:
            reports.stopped(job)
        except StudioError as error:
            reports.failed(job, error)
        except WorkerLost as error:
            self._lost(error)
            # What was not begun is as it was; what was begun may be what the worker died of.
            (reports.died if begun else reports.stopped)(job)
        except Exception:
            log.exception("job %s failed on %s", job, self._where)
            reports.failed(job, GenerationError(INTERNAL))

    def _ordered(self, assignment: Assignment) -> Order:
        plan = self._making.settled(assignment)
        loras = {
            f"{use.name}{self._making.loras.find(use.name).path.suffix}": use.sha256 or ""
            for use in plan.request.loras
            if use.strength
        }
        start = plan.request.start
        pictures = () if start is None else tuple(filter(None, (start.picture, start.mask)))
        return Order(assignment.job.id, assignment.job.model, plan, loras, pictures)

    def _file(self, order: Order, digest: str) -> Any:
        """The contents of a file of a job, which are sent once for all workers."""
        if digest not in self._shared:
            name = next((name for name, each in order.loras.items() if each == digest), None)
            data = self._making.inputs.file(digest) if name is None else self._lora(name)
            self._shared = {digest: self._handle.share(data)}
        return self._shared[digest]

    def _lora(self, name: str) -> bytes:
        return read_regular(self._making.loras.find(name.rpartition(".")[0]).path, _MAX_LORA)

    def _followed(self, order: Order, assignment: Assignment, reports: Reports) -> Made | Ended:
        stopped = False
        while True:
            for news in self._handle.ask("news", order.job):
                if isinstance(news, Made | Ended):
                    return news
                _tell(news, order, reports)
            if assignment.token() and not stopped:
                self._handle.ask("stop", order.job)
                stopped = True

    def _end(self, end: Made | Ended, assignment: Assignment, reports: Reports) -> None:
        job = assignment.job
        if isinstance(end, Made):
            surroundings = end.record.surroundings.model_copy(update={"runner": KIND})
            record = end.record.model_copy(update={"surroundings": surroundings})
            png = self._making.gallery.packed(end.picture, record, job.owner if self._making.marked else "")
            reports.finished(job.id, record, png)
        elif end.how == "failed":
            reports.failed(job.id, end.error or GenerationError(INTERNAL))
        elif end.how == "stopped":
            reports.stopped(job.id)
        else:
            reports.died(job.id)

    def _lost(self, error: WorkerLost) -> None:
        log.warning("%s: %s", self._where, error)
        self._model = ""
        self._trouble = Text(
            f"The worker {self._where} is lost ({error}).", f"工作节点 {self._where} 已失联（{error}）。"
        )
        threading.Thread(target=self._wait, name="studio-cluster-health", daemon=True).start()

    def _wait(self) -> None:
        while not self._closing.wait(self._again):
            try:
                self._where, self._model = self._handle.ask("about")
            except WorkerLost:
                continue
            self._trouble = None
            return


def _tell(news: News, order: Order, reports: Reports) -> None:
    match news:
        case Loading(text):
            reports.loading(order.job, text)
        case GenerationPlan():
            reports.started(order.job, news)
        case _:
            reports.progressed(order.job, news, order.plan)  # type: ignore[arg-type]
