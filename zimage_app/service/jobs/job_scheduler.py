"""Chooses which waiting job a free runner gets next: in queue order, except to avoid loading models needlessly.

Uses no threads and no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from zimage_app.service.jobs.store import Job

MAX_SKIPS = 4
"""How often a job may be skipped by later ones; after that it starts, even if its model has to be loaded."""

Key = TypeVar("Key")


class Scheduler(Generic[Key]):
    """Chooses jobs, and counts how often each was skipped."""

    def __init__(self, runners: int) -> None:
        """``runners`` is the number of all runners; with a single one, jobs run in queue order."""
        self._several = runners > 1
        self._skips: dict[str, int] = {}

    def choose(self, waiting: Sequence[Job], loaded: Mapping[Key, str]) -> tuple[Key, Job]:
        """Return a free runner and the job for it.

        ``waiting`` are the jobs in queue order, at least one; ``loaded`` maps each free runner, at least one, to the
        model that it has loaded.
        """
        runner, place = self._fitting(waiting, loaded) if self._several else (next(iter(loaded)), 0)
        known = {job.id for job in waiting}
        self._skips = {job_id: times for job_id, times in self._skips.items() if job_id in known}
        for job in waiting[:place]:
            self._skips[job.id] = self._skips.get(job.id, 0) + 1
        return runner, waiting[place]

    def _fitting(self, waiting: Sequence[Job], loaded: Mapping[Key, str]) -> tuple[Key, int]:
        for place, job in enumerate(waiting):
            for runner, model in loaded.items():
                if model == job.model:
                    return runner, place
            if self._skips.get(job.id, 0) >= MAX_SKIPS:
                return next(iter(loaded)), place
        # No free runner has a wanted model; prefer one without a model, since a loaded model may be wanted next.
        return min(loaded, key=lambda runner: bool(loaded[runner])), 0
