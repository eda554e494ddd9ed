"""A runner with a fallback runner for models that it can't use; each picture made there carries a warning."""

from __future__ import annotations

from zimage_app.domain.errors import ModelError, StudioError
from zimage_app.domain.events import Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
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


class _FirstReports:
    """Passes on the reports of the first runner; if it fails with a ModelError, starts the job on the second one."""

    def __init__(self, second: Runner, assignment: Assignment, reports: Reports) -> None:
        self.loading, self.started, self.progressed = reports.loading, reports.started, reports.progressed
        self.finished, self.stopped, self.crashed = reports.finished, reports.stopped, reports.crashed
        self._second = second
        self._assignment = assignment
        self._reports = reports

    def failed(self, job_id: str, error: StudioError) -> None:
        """See ``Reports``."""
        status = self._second.status()
        if not isinstance(error, ModelError) or self._assignment.token():
            self._reports.failed(job_id, error)
        elif status.trouble is not None:
            both = Text(f"{error.text.en} {status.trouble.en}", f"{error.text.zh}{status.trouble.zh}")
            self._reports.failed(job_id, ModelError(both))
        else:
            reason = Text(
                f"Made by {status.kind} at {status.where}, because the model can't be used here: {error.text.en}",
                f"由 {status.where} 的 {status.kind} 生成，因为本机无法使用该模型：{error.text.zh}",
            )
            self._reports.loading(job_id, reason)
            self._second.start(self._assignment, _SecondReports(self._reports, reason))


class _SecondReports:
    """Passes on the reports of the second runner; adds a warning with the reason why it makes the picture."""

    def __init__(self, reports: Reports, reason: Text) -> None:
        self.loading, self.progressed, self.finished = reports.loading, reports.progressed, reports.finished
        self.failed, self.stopped, self.crashed = reports.failed, reports.stopped, reports.crashed
        self._started = reports.started
        self._reason = reason

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        self._started(job_id, plan)
        self.progressed(job_id, Warned((self._reason,)), plan)
