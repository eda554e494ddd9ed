"""Runs jobs on a remote worker, which may be lost at any time. Doesn't depend on Ray."""

from __future__ import annotations

from typing import Any, Protocol

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.jobs.runners.cluster.worker import JobAborted, JobFinished, JobSpec, Loading, Message
from zimage_app.service.jobs.runners.remote import RemoteDependencies, RemoteRunner, Unreachable
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports

CACHE = "~/.cache/zimage-studio"
"""Folder on the workers' machines for files sent with jobs."""
_MAX_LORA = 8 * 2**30
"""Bytes."""
_RETRY_INTERVAL = 5.0
"""Seconds between checks whether a lost worker is back."""


class Handle(Protocol):
    """Calls methods of a remote ``Worker``."""

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the worker and return its result; raises Unreachable, or the method's error."""
        ...

    def share(self, data: bytes) -> Any:
        """Store a file's contents for the workers; return a reference to pass to ``ask``."""
        ...


class ClusterRunner(RemoteRunner):
    """A runner that uses one worker."""

    KIND = "ray"

    def __init__(
        self, dependencies: RemoteDependencies, handle: Handle, name: str, retry_interval: float = _RETRY_INTERVAL
    ) -> None:
        super().__init__(dependencies, name, retry_interval)
        self._handle = handle
        self._shared: dict[str, Any] = {}
        """SHA-256 of the file sent last -> its shared contents."""

    def _run(self, assignment: Assignment, reports: Reports) -> None:
        spec = self._job_spec(assignment)
        for digest in self._handle.ask("missing_files", spec):
            self._handle.ask("receive_file", spec, digest, self._file(spec, digest))
        self._sent = True
        self._handle.ask("begin", spec)
        end = self._followed(spec, assignment, reports)
        self._where, self._model = self._handle.ask("status")
        self._end(end, assignment, reports)

    def _is_alive(self) -> bool:
        try:
            self._where, self._model = self._handle.ask("status")
        except Unreachable:
            return False
        return True

    def _unreachable_text(self, reason: str) -> Text:
        return Text(f"The worker {self._where} is lost ({reason}).", f"工作节点 {self._where} 已失联（{reason}）。")

    def _job_spec(self, assignment: Assignment) -> JobSpec:
        plan = self._dependencies.resolved_plan(assignment)
        loras = {
            f"{use.name}{self._dependencies.loras.find(use.name).path.suffix}": use.sha256 or ""
            for use in plan.request.loras
            if use.strength
        }
        start = plan.request.start
        pictures = () if start is None else tuple(filter(None, (start.picture, start.mask)))
        return JobSpec(assignment.job.id, assignment.job.model, plan, loras, pictures)

    def _file(self, spec: JobSpec, digest: str) -> Any:
        """Return the shared contents of one of a job's files."""
        if digest not in self._shared:
            name = next((name for name, each in spec.loras.items() if each == digest), None)
            data = self._dependencies.inputs.file(digest) if name is None else self._lora(name)
            self._shared = {digest: self._handle.share(data)}
        return self._shared[digest]

    def _lora(self, name: str) -> bytes:
        return read_regular(self._dependencies.loras.find(name.rpartition(".")[0]).path, _MAX_LORA)

    def _followed(self, spec: JobSpec, assignment: Assignment, reports: Reports) -> JobFinished | JobAborted:
        stopped = False
        while True:
            for message in self._handle.ask("poll", spec.job):
                if isinstance(message, JobFinished | JobAborted):
                    return message
                _report(message, spec, reports)
            if assignment.token() and not stopped:
                self._handle.ask("stop", spec.job)
                stopped = True

    def _end(self, end: JobFinished | JobAborted, assignment: Assignment, reports: Reports) -> None:
        job = assignment.job
        if isinstance(end, JobFinished):
            surroundings = end.record.surroundings.model_copy(update={"runner": self.KIND})
            record = end.record.model_copy(update={"surroundings": surroundings})
            reports.finished(job.id, record, end.picture)
        elif end.how == "failed":
            reports.failed(job.id, end.error or GenerationError(INTERNAL))
        elif end.how == "stopped":
            reports.stopped(job.id)
        else:
            reports.crashed(job.id)


def _report(message: Message, spec: JobSpec, reports: Reports) -> None:
    match message:
        case Loading(text):
            reports.loading(spec.job, text)
        case GenerationPlan():
            reports.started(spec.job, message)
        case _:
            reports.progressed(spec.job, message, spec.plan)  # type: ignore[arg-type]
