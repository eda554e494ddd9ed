"""Saves finished pictures, and holds on to those that could not be saved until they can. Knows no queue and no page."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from zimage_app.domain.errors import StorageError
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.gallery import Gallery
from zimage_app.service.views import SavedPicture

_MOST = 4
"""Pictures that are held at once, of a few megabytes each; then no more are made until one is saved."""


@dataclass(frozen=True, slots=True)
class _Held:
    job_id: str
    mark: str
    picture: SavedPicture
    problem: Text


class Keeper:
    """Where finished pictures go. Safe from any thread."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    @property
    def full(self) -> bool:
        """Whether as many pictures wait to be saved as may."""
        return len(self._held) >= _MOST

    @property
    def warning(self) -> Text | None:
        """Why the newest of the pictures that wait could not be saved; None where none waits."""
        with self._lock:
            return next((held.problem for held in reversed(self._held.values())), None)

    def keep(self, job_id: str, png: bytes, record: ImageRecord, mark: str) -> tuple[SavedPicture, Text | None]:
        """Save a job's picture; where that can't be, hold it, and say why. ``mark`` is its owner's."""
        try:
            return self._gallery.write(png, record), None
        except StorageError as error:
            problem = Text(
                f"{error.text.en} Until then it can be downloaded here, and is saved as soon as that works.",
                f"{error.text.zh}在此之前可以在此页面下载，恢复后会自动保存。",
            )
            picture = SavedPicture(self._gallery.path_of(record.id), record, png)
            with self._lock:
                self._held[record.id] = _Held(job_id, mark, picture, problem)
            return picture, problem

    def retry(self) -> list[tuple[str, SavedPicture]]:
        """Try to save what is held; gives (job's id, picture) of what was saved now."""
        with self._lock:
            held = list(self._held.values())
        saved: list[tuple[str, SavedPicture]] = []
        for each in held:
            png, record = each.picture.read(), each.picture.record
            try:
                saved.append((each.job_id, self._gallery.write(png, record)))
            except StorageError:
                continue
            with self._lock:
                self._held.pop(record.id, None)
        return saved

    def find(self, picture_id: str, mark: str | None) -> SavedPicture | None:
        """A picture that waits to be saved; None where there is none, or not of the owner of that mark (None: any)."""
        with self._lock:
            held = self._held.get(picture_id)
        return held.picture if held is not None and mark in (None, held.mark) else None
