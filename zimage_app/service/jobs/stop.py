"""The token that tells a running job to stop, and why. Uses no disk and no lock."""

from __future__ import annotations

from enum import Enum


class StopReason(Enum):
    """Why a job has to stop."""

    CANCELLED = "cancelled"
    """A user cancelled the job."""
    OVERDUE = "overdue"
    """The job exceeded the time limit."""
    CLOSING = "closing"
    """The app is closing; the job is requeued."""


class StopToken:
    """A flag with the reason; the engine calls the token before every model evaluation to check it."""

    def __init__(self) -> None:
        self._reasons: list[StopReason] = []

    def stop(self, reason: StopReason) -> None:
        """Tell the job to stop. Only the first reason counts."""
        self._reasons.append(reason)

    @property
    def reason(self) -> StopReason | None:
        """Why to stop; None if the job may continue."""
        return self._reasons[0] if self._reasons else None

    def __call__(self) -> bool:
        """Return whether to stop."""
        return bool(self._reasons)
