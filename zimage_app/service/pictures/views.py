"""A saved picture, as everybody hands it around. Knows no threads, no pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.record import ImageRecord
from zimage_app.models.disk.regular_file import read_regular

MAX_PICTURE = 256 * 2**20
"""Bytes of a saved picture; a PNG of 4096 x 4096 has at most 50 million."""


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """A picture on disk."""

    path: Path
    record: ImageRecord
    unsaved: bytes | None = None
    """The PNG itself, while it could not be written to ``path``."""

    @property
    def size(self) -> int:
        """Bytes of the PNG; 0 where its file has gone."""
        if self.unsaved is not None:
            return len(self.unsaved)
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """The PNG; raises OSError where its file has gone."""
        return read_regular(self.path, MAX_PICTURE) if self.unsaved is None else self.unsaved
