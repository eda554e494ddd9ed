"""A saved picture, as everybody hands it around. Knows no threads, no pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.record import ImageRecord


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """A picture on disk."""

    path: Path
    record: ImageRecord
    unsaved: bytes | None = None
    """The PNG itself, while it could not be written to ``path``."""

    def read(self) -> bytes:
        """The PNG; raises OSError where its file has gone."""
        return self.path.read_bytes() if self.unsaved is None else self.unsaved
