"""Small pictures of LoRAs, made from whatever picture lies beside them or in them; all are strangers' files."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from zimage_app.service.loras.contents import embedded_thumbnail
from zimage_app.service.loras.scan import SUFFIX
from zimage_app.service.picture_files import UnreadablePicture, opened_picture

SIZE = (256, 320)
"""Largest width and height, in pixels."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_LARGEST_FILE = 32 * 2**20
"""Bytes."""
_MOST_PIXELS = 8_000_000
"""To be unpacked, at eight bytes each; of a JPEG those that are left once it is read at a smaller scale."""
_PAPER = (240, 238, 234)
"""Behind what is transparent."""


@lru_cache(maxsize=512)
def thumbnail(path: Path, modified: int) -> bytes | None:
    """A JPEG of at most SIZE, or None where the file is no picture. ``modified`` makes a changed file another one."""
    del modified
    try:
        if path.name.lower().endswith(SUFFIX):
            data = embedded_thumbnail(path)
        else:
            data = path.read_bytes() if path.stat().st_size <= _LARGEST_FILE else None
        return None if data is None else _small(data)
    except (OSError, UnreadablePicture):
        return None


def _small(data: bytes) -> bytes | None:
    with opened_picture(io.BytesIO(data), _FORMATS) as image:
        image.draft("RGB", (2 * SIZE[0], 2 * SIZE[1]))
        if image.width * image.height > _MOST_PIXELS // (2 if image.format == "WEBP" else 1):
            return None
        picture = image if image.mode in ("RGB", "RGBA", "L", "LA") else image.convert("RGBA")
        # Of pictures of this size, no second copy is made before it is small; either side may be the longer one yet.
        picture.thumbnail((max(SIZE), max(SIZE)), Image.Resampling.LANCZOS)
        picture = ImageOps.exif_transpose(picture).convert("RGBA")
    picture.thumbnail(SIZE, Image.Resampling.LANCZOS)
    page = Image.new("RGBA", picture.size, _PAPER)
    buffer = io.BytesIO()
    Image.alpha_composite(page, picture).convert("RGB").save(buffer, "JPEG", quality=84)
    return buffer.getvalue()
