"""How long to wait for a hub, and how often to ask again. Knows no protocol but the header Retry-After."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds, and a number of attempts."""

    first: float = 4.5
    """For the first connection of all: without network, a user learns of it within five seconds."""
    answer: float = 15.0
    """For a connection, and for each answer that is not a file."""
    silence: float = 15.0
    """For the next bytes of a file."""
    attempts: int = 6
    """In a row without a byte of progress."""
    pause: float = 1.0
    """After the first failure; each further one doubles it."""
    longest: float = 60.0
    """Of all pauses, those that a hub asks for included."""

    def after(self, failures: int, asked: float | None = None) -> float:
        """The pause after so many failures in a row; ``asked`` is what the hub wants."""
        return min(self.longest, self.pause * 2.0 ** (failures - 1) if asked is None else asked)


class Busy(Exception):
    """A hub that has no time now. ``after`` is how many seconds it asks to wait, where it says so."""

    STATUSES: ClassVar[frozenset[int]] = frozenset((408, 425, 429, 500, 502, 503, 504))

    def __init__(self, status: int, after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.after = after

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Busy:
        """From an answer; Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3)."""
        value = headers.get("retry-after", "").strip()
        if value.isdecimal():
            return cls(status, float(value))
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return cls(status, None)
        return cls(status, max(0.0, (until - datetime.now(UTC)).total_seconds()))
