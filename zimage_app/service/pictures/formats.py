"""Converts pictures to JPEG and WebP, with their settings in the EXIF comment, as A1111 does."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text
from zimage_app.service.pictures.decoding import MAX_PIXELS
from zimage_app.service.pictures.picture_files import opened_picture

FORMATS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "optimize": True},
    "webp": {"format": "WEBP", "quality": 95},
}
"""How a file with such an ending is written."""
MEDIA_TYPES = {"jpg": "image/jpeg", "webp": "image/webp"}
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MAX_JPEG_EXIF = 65_500
"""Bytes; a JPEG segment holds 65,533, a few of which are EXIF's header."""


def converted(png: bytes, kind: str, parameters: str) -> bytes:
    """Convert a saved picture to one of the ``FORMATS``.

    Raises:
        StorageError: a JPEG can't hold so long settings.
        UnreadablePicture: it is no PNG that can be read.
    """
    exif = _exif(parameters)
    if kind == "jpg":
        _check_length(exif)
    with opened_picture(io.BytesIO(png), ["PNG"], MAX_PIXELS) as image:
        return _written(image.convert("RGB"), exif, FORMATS[kind])


def with_parameters(jpeg: bytes, parameters: str) -> bytes:
    """Add settings to a JPEG of this app, without changing its pixels; raises StorageError as ``converted`` does."""
    exif = _exif(parameters)
    _check_length(exif)
    with opened_picture(io.BytesIO(jpeg), ["JPEG"], MAX_PIXELS) as image:
        return _written(image, exif, {"format": "JPEG", "quality": "keep"})


def _written(image: Image.Image, exif: bytes, how: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, exif=exif, **how)
    return buffer.getvalue()


def _exif(parameters: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + parameters.encode("utf-16-be")
    return exif.tobytes()


def _check_length(exif: bytes) -> None:
    if len(exif) > _MAX_JPEG_EXIF:
        raise StorageError(
            Text(
                "These settings are too long for a JPEG, which holds 64 KB of them; save as PNG or WebP.",
                "参数过长，JPEG 最多容纳 64 KB；请保存为 PNG 或 WebP。",
            )
        )
