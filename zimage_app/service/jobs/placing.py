"""Which waiting job goes to which free runner: in turn, but a model is not loaded in vain.

Knows no threads and no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from zimage_app.service.jobs.store import Job

MAX_PASSED = 4
"""So many jobs may be begun before one whose turn it was; then it is begun, whatever must be loaded for it."""

Key = TypeVar("Key")


class Placing(Generic[Key]):
    """Remembers how often each job was passed over."""

    def __init__(self, runners: int) -> None:
        """With one runner alone the order is that of the turns."""
        self._several = runners > 1
        self._passed: dict[str, int] = {}

    def choose(self, waiting: Sequence[Job], loaded: Mapping[Key, str]) -> tuple[Key, Job]:
        """A free runner and its job.

        ``waiting`` are the jobs in turn, at least one; ``loaded`` the free runners, at least one, each with the model
        that it has loaded.
        """
        runner, place = self._fitting(waiting, loaded) if self._several else (next(iter(loaded)), 0)
        known = {job.id for job in waiting}
        self._passed = {job_id: times for job_id, times in self._passed.items() if job_id in known}
        for job in waiting[:place]:
            self._passed[job.id] = self._passed.get(job.id, 0) + 1
        return runner, waiting[place]

    def _fitting(self, waiting: Sequence[Job], loaded: Mapping[Key, str]) -> tuple[Key, int]:
        for place, job in enumerate(waiting):
            for runner, model in loaded.items():
                if model == job.model:
                    return runner, place
            if self._passed.get(job.id, 0) >= MAX_PASSED:
                return next(iter(loaded)), place
        # Nobody has what is wanted: who has nothing loaded loads it, before somebody unloads what may be wanted next.
        return min(loaded, key=lambda runner: bool(loaded[runner])), 0
