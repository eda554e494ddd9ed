"""What a face may know of a running job: one immutable snapshot. Knows no threads, no pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zimage_app.domain.errors import StudioError
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.models.regular_file import read_regular

JobState = Literal["waiting", "loading", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class StageView:
    """How far one stage is."""

    number: int
    """Which stage of the request, from 0."""
    width: int
    height: int
    steps: int
    step: int = 0
    """Steps done."""
    seconds: float | None = None
    """How long it took, once it is over."""
    preview: bytes | None = None
    """Newest JPEG: rough while the stage runs, decoded once it is over."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """How many jobs there are that are not over."""

    running: int
    waiting: int


MOST_PICTURE = 256 * 2**20
"""Bytes of a saved picture; a PNG of 4096 x 4096 has at most 50 million."""


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """A picture on disk."""

    path: Path
    record: ImageRecord
    unsaved: bytes | None = None
    """The PNG itself, while it could not be written to ``path``."""

    def read(self) -> bytes:
        """The PNG; raises OSError where its file has gone."""
        return read_regular(self.path, MOST_PICTURE) if self.unsaved is None else self.unsaved


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one moment. ``version`` grows with every change."""

    id: str
    owner: str
    """``gallery.owner_mark`` of who asked."""
    model: str
    state: JobState = "waiting"
    version: int = 0
    ahead: int = 0
    """Jobs that run before this one."""
    starts_in: float | None = None
    """Estimated seconds until it runs, while it waits; None while that isn't known."""
    stages: tuple[StageView, ...] = ()
    current: int = 0
    """Index into ``stages`` of the one that runs, or ran last."""
    progress: float = 0.0
    """0…1 of the whole job."""
    elapsed: float = 0.0
    """Seconds since it began to run."""
    remaining: float | None = None
    """Estimated seconds to go."""
    warnings: tuple[Text, ...] = ()
    loading: Text | None = None
    """What is being loaded, while state is ``loading``."""
    error: StudioError | None = None
    picture: SavedPicture | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "failed", "cancelled")
