"""A saved picture and its record, as passed between modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.record import ImageRecord
from zimage_app.models.disk.regular_file import read_regular

MAX_PICTURE = 256 * 2**20
"""Maximum size of a saved picture in bytes; a PNG of 4096 x 4096 has up to 50 million."""


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """A picture on disk, or in memory if it couldn't be saved."""

    path: Path
    record: ImageRecord
    unsaved_png: bytes | None = None
    """The PNG's bytes, as long as they could not be written to ``path``."""

    @property
    def size(self) -> int:
        """Size of the PNG in bytes; 0 if its file is missing."""
        if self.unsaved_png is not None:
            return len(self.unsaved_png)
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """Return the PNG's bytes; raises OSError if its file is missing."""
        return read_regular(self.path, MAX_PICTURE) if self.unsaved_png is None else self.unsaved_png
