"""A runner with a fallback runner for models that it can't use; each picture made there carries a warning."""

from __future__ import annotations

from zimage_app.domain.errors import ModelError, StudioError
from zimage_app.domain.events import Picture, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.jobs.progress import RunEvent
from zimage_app.service.jobs.runners.runner import Assignment, Reports, Runner, RunnerStatus


class FallbackRunner:
    """Runs jobs on ``first``; a job that fails there with a ModelError runs on ``second``, which queues its jobs."""

    def __init__(self, first: Runner, second: Runner) -> None:
        self._first = first
        self._second = second

    def start(self, assignment: Assignment, reports: Reports) -> None:
        """See ``Runner.start``."""
        self._first.start(assignment, _FirstReports(self._second, assignment, reports))

    def status(self) -> RunnerStatus:
        """Return the status of the first runner."""
        return self._first.status()

    def close(self, seconds: float) -> None:
        """Close the first runner; the creator of the second one closes that."""
        self._first.close(seconds)


class _ForwardedReports:
    """Base of reports that are passed on unchanged."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def loading(self, job_id: str, text: Text) -> None:
        """See ``Reports``."""
        self._reports.loading(job_id, text)

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        self._reports.started(job_id, plan)

    def progressed(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        self._reports.progressed(job_id, event, plan)

    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None:
        """See ``Reports``."""
        self._reports.finished(job_id, record, picture)

    def failed(self, job_id: str, error: StudioError) -> None:
        """See ``Reports``."""
        self._reports.failed(job_id, error)

    def stopped(self, job_id: str) -> None:
        """See ``Reports``."""
        self._reports.stopped(job_id)

    def crashed(self, job_id: str) -> None:
        """See ``Reports``."""
        self._reports.crashed(job_id)


class _FirstReports(_ForwardedReports):
    """Reports of the first runner; if it fails with a ModelError, starts the job on the second one."""

    def __init__(self, second: Runner, assignment: Assignment, reports: Reports) -> None:
        super().__init__(reports)
        self._second = second
        self._assignment = assignment

    def failed(self, job_id: str, error: StudioError) -> None:
        """See ``Reports``."""
        status = self._second.status()
        if not isinstance(error, ModelError) or self._assignment.token():
            super().failed(job_id, error)
        elif status.trouble is not None:
            both = Text(f"{error.text.en} {status.trouble.en}", f"{error.text.zh}{status.trouble.zh}")
            super().failed(job_id, ModelError(both))
        else:
            said = Text(
                f"Made by {status.kind} at {status.where}, because the model can't be used here: {error.text.en}",
                f"由 {status.where} 的 {status.kind} 生成，因为本机无法使用该模型：{error.text.zh}",
            )
            self.loading(job_id, said)
            self._second.start(self._assignment, _SecondReports(self._reports, said))


class _SecondReports(_ForwardedReports):
    """Reports of the second runner; adds a warning that says why it makes the picture."""

    def __init__(self, reports: Reports, said: Text) -> None:
        super().__init__(reports)
        self._said = said

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        super().started(job_id, plan)
        self.progressed(job_id, Warned((self._said,)), plan)
