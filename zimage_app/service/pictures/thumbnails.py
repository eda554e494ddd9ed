"""Thumbnails of saved pictures as JPEG, cached in memory. Doesn't check owners."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from zimage_app.service.pictures.decoding import MAX_PIXELS
from zimage_app.service.pictures.picture_files import UnreadablePicture, opened_picture

SIZE = (320, 320)
"""A thumbnail's maximum width and height in pixels."""


def saved_thumbnail(path: Path) -> bytes | None:
    """Return a small JPEG; None if the file is missing or isn't a readable picture."""
    try:
        return _made(path, path.stat().st_mtime_ns)
    except (OSError, UnreadablePicture):
        return None


@lru_cache(maxsize=1024)
def _made(path: Path, modified: int) -> bytes:
    del modified  # part of the cache's key
    with opened_picture(path, ["PNG"], MAX_PIXELS) as image:
        small = image.convert("RGB")
    small.thumbnail(SIZE, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
