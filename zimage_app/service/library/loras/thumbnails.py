"""Thumbnails of LoRAs, from pictures beside them or embedded in them; all of these files are untrusted."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.library.loras.header import embedded_thumbnail
from zimage_app.service.library.loras.scan import SUFFIX
from zimage_app.service.pictures.decoding import DecodeOptions, UnreadablePicture, decode

SIZE = (256, 320)
"""Maximum (width, height) in pixels."""
_MAX_FILE = 32 * 2**20
"""Bytes."""
_WANTED = DecodeOptions(SIZE, "inside", background=(240, 238, 234))


@lru_cache(maxsize=512)
def thumbnail(path: Path, modified: int) -> bytes | None:
    """A JPEG within SIZE; None where the file is not a picture. ``modified`` is part of the cache's key."""
    del modified
    try:
        inside = path.name.lower().endswith(SUFFIX)
        data = embedded_thumbnail(path) if inside else read_regular(path, _MAX_FILE)
        return None if data is None else decode(data, _WANTED).data
    except (OSError, UnreadablePicture):
        return None
