"""Timeouts, number of attempts and pauses of requests to a hub, including the Retry-After header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and retries of requests to a hub; times in seconds."""

    first: float = 4.5
    """Timeout of the first connection, short enough that a missing network is reported within five seconds."""
    answer: float = 15.0
    """Timeout of a connection, and of each response that isn't a file."""
    silence: float = 15.0
    """Timeout of the next bytes of a file."""
    attempts: int = 6
    """Number of consecutive failures without progress after which a download is given up."""
    pause: float = 1.0
    """Pause after the first failure; doubles with every further one."""
    max_pause: float = 60.0
    """Maximum pause, also for pauses that a hub requests."""

    def after(self, failures: int, asked: float | None = None) -> float:
        """Return the pause in seconds after this many failures in a row; ``asked`` is the hub's Retry-After."""
        return min(self.max_pause, self.pause * 2.0 ** (failures - 1) if asked is None else asked)


class Busy(Exception):
    """The hub asks to retry later. ``after`` is the requested pause in seconds, or None."""

    STATUSES: ClassVar[frozenset[int]] = frozenset((408, 425, 429, 500, 502, 503, 504))

    def __init__(self, status: int, after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.after = after

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Busy:
        """Make the error from a response; Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3)."""
        value = headers.get("retry-after", "").strip()
        if value.isdecimal():
            return cls(status, float(value))
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return cls(status, None)
        return cls(status, max(0.0, (until - datetime.now(UTC)).total_seconds()))
