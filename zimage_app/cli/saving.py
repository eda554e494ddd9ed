"""Saves the pictures that a command makes in its own process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from zimage_app.domain.errors import StorageError
from zimage_app.domain.events import Picture
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture


def save(gallery: Gallery, picture: Picture, record: ImageRecord) -> SavedPicture:
    """Save a picture; if that fails, write it to a temporary folder, so that it isn't lost when the process ends.

    Raises:
        StorageError: the gallery's folder can't be written; names the seed, and the temporary file if there is one.
    """
    try:
        return gallery.save(picture, record)
    except StorageError as error:
        kept = _kept(picture, record)
        if kept is None:
            raise
        raise StorageError(
            Text(f"{error.text.en} Until then it lies at {kept}.", f"{error.text.zh}图片暂存于 {kept}。")
        ) from error


def _kept(picture: Picture, record: ImageRecord) -> Path | None:
    """The picture's file in a new temporary folder; None where none can be written."""
    try:
        return Gallery(Path(tempfile.mkdtemp(prefix="zimage-"))).save(picture, record).path
    except (OSError, StorageError):
        return None
