"""How a running job is told to stop: one token, set once, with the reason. Touches no disk and no lock."""

from __future__ import annotations

from enum import Enum


class StopReason(Enum):
    """Why a job is to stop."""

    CANCELLED = "cancelled"
    """Somebody asked for it."""
    OVERDUE = "overdue"
    """It ran longer than a job may."""
    CLOSING = "closing"
    """The app ends; the job waits again."""


class StopToken:
    """Calling it says whether to stop; the engine does so before every model evaluation."""

    def __init__(self) -> None:
        self._reasons: list[StopReason] = []

    def stop(self, reason: StopReason) -> None:
        """Ask for the end. The first reason counts."""
        self._reasons.append(reason)

    @property
    def reason(self) -> StopReason | None:
        """Why to stop; None while nobody asked."""
        return self._reasons[0] if self._reasons else None

    def __call__(self) -> bool:
        """Whether to stop."""
        return bool(self._reasons)
