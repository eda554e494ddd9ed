"""Runs jobs on a remote worker, which may be lost at any time. Doesn't depend on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Cancelled, Event, Failed, Finished, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.jobs.runners.cluster.worker import JobAborted, JobFinished, JobSpec, LoadingMessage
from zimage_app.service.jobs.runners.remote import RemoteDependencies, RemoteRunner, Unreachable
from zimage_app.service.jobs.runners.run_events import report_run
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports

CACHE = "~/.cache/zimage-studio"
"""Folder on the workers' machines for files sent with jobs."""
_MAX_LORA = 8 * 2**30
"""Bytes."""
_RETRY_INTERVAL = 5.0
"""Seconds between checks whether a lost worker is back."""


class WorkerHandle(Protocol):
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
        self, dependencies: RemoteDependencies, handle: WorkerHandle, name: str, retry_interval: float = _RETRY_INTERVAL
    ) -> None:
        super().__init__(dependencies, name, retry_interval)
        self._handle = handle
        self._shared: dict[str, Any] = {}
        """SHA-256 of the file sent last -> its shared contents."""

    def _run(self, assignment: Assignment, reports: Reports) -> None:
        spec, warnings = self._job_spec(assignment)
        for digest in self._handle.ask("missing_files", spec):
            self._handle.ask("receive_file", spec, digest, self._file(spec, digest))
        self._sent = True
        self._handle.ask("begin", spec)
        events = self._events(spec, warnings, assignment, reports)
        report_run(events, spec.job, spec.plan, self._dependencies.gallery, reports)

    def _is_alive(self) -> bool:
        try:
            self._where, self._model = self._handle.ask("status")
        except Unreachable:
            return False
        return True

    def _unreachable_text(self, reason: str) -> Text:
        return Text(f"The worker {self._where} is lost ({reason}).", f"工作节点 {self._where} 已失联（{reason}）。")

    def _job_spec(self, assignment: Assignment) -> tuple[JobSpec, tuple[Text, ...]]:
        """Return the job for the worker, and warnings for the user."""
        plan, warnings = self._dependencies.resolved_plan(assignment)
        loras = {
            f"{use.name}{self._dependencies.loras.find(use.name).path.suffix}": use.sha256 or ""
            for use in plan.request.loras
            if use.strength
        }
        start = plan.request.start
        pictures = () if start is None else tuple(filter(None, (start.picture, start.mask)))
        return JobSpec(assignment.job.id, assignment.job.model, plan, loras, pictures), warnings

    def _file(self, spec: JobSpec, digest: str) -> Any:
        """Return the shared contents of one of a job's files."""
        if digest not in self._shared:
            name = next((name for name, each in spec.loras.items() if each == digest), None)
            data = self._dependencies.inputs.file(digest) if name is None else self._lora(name)
            self._shared = {digest: self._handle.share(data)}
        return self._shared[digest]

    def _lora(self, name: str) -> bytes:
        return read_regular(self._dependencies.loras.find(name.rpartition(".")[0]).path, _MAX_LORA)

    def _events(
        self, spec: JobSpec, warnings: tuple[Text, ...], assignment: Assignment, reports: Reports
    ) -> Iterator[Event]:
        """Yield the events of the run on the worker; report its beginning, and if it crashed."""
        stopped = False
        while True:
            for message in self._handle.ask("poll", spec.job):
                match message:
                    case LoadingMessage(text):
                        reports.loading(spec.job, text)
                    case GenerationPlan():
                        reports.started(spec.job, message)
                        if warnings:
                            yield Warned(warnings)
                    case JobFinished(picture, record):
                        self._where, self._model = self._handle.ask("status")
                        surroundings = record.surroundings.model_copy(update={"runner": self.KIND})
                        yield Finished(picture, record.model_copy(update={"surroundings": surroundings}))
                        return
                    case JobAborted(how, error):
                        self._where, self._model = self._handle.ask("status")
                        if how == "crashed":
                            reports.crashed(spec.job)
                        else:
                            yield Cancelled() if how == "stopped" else Failed(error or GenerationError(INTERNAL))
                        return
                    case _:
                        yield message
            if assignment.token() and not stopped:
                self._handle.ask("stop", spec.job)
                stopped = True
