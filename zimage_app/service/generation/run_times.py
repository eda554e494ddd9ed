"""Measures how fast models have run on this machine, from the records in the newest pictures.

A limited number of pictures is read, each once; new ones are noticed by their folder's modification time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path

from zimage_app.domain.errors import StorageError
from zimage_app.domain.plan_summary import TimedStage, timed_stages
from zimage_app.domain.record import ImageRecord
from zimage_app.service.pictures.gallery import is_id, read_record

_PICTURES = 60
"""Number of newest pictures that are read."""
_FOLDERS = 30
"""Number of newest folders that are searched."""


class RunTimes:
    """The stage times recorded in the pictures below one folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._records: dict[str, ImageRecord | None] = {}

    def of(self, model: str) -> tuple[TimedStage, ...]:
        """Return the timed stages of a model's pictures, newest first, limited to the newest one's device and dtype."""
        with self._turn:
            self._look()
            records = [record for record in self._records.values() if record is not None and record.model == model]
        if not records:
            return ()
        place = attrgetter("surroundings.device", "surroundings.dtype")
        alike = [record for record in records if place(record) == place(records[0])]
        return tuple(stage for record in alike for stage in timed_stages(record))

    def _look(self) -> None:
        try:
            days = (path for path in self._folder.iterdir() if path.name[:1].isdigit() and path.is_dir())
            folders = sorted(days, key=lambda path: path.name, reverse=True)[:_FOLDERS]
            stamp = tuple((folder.name, folder.stat().st_mtime_ns) for folder in folders)
            if stamp == self._stamp:
                return
            found = {path.stem: path for path in islice(_pictures(folders), _PICTURES)}
        except OSError:  # no folder yet, or not readable: keep the known records
            return
        self._records = {id_: self._records[id_] if id_ in self._records else _read(found[id_]) for id_ in found}
        self._stamp = stamp


def _pictures(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((path for path in folder.glob("*.png") if is_id(path.stem)), reverse=True)


def _read(path: Path) -> ImageRecord | None:
    try:
        return read_record(path)
    except StorageError:
        return None
