"""Pictures of anybody: opened as far as their head, or refused in one way."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from zimage_app.domain.errors import StorageError
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.pictures.picture_files import UnreadablePicture, opened_picture


def png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = (4, 4)) -> bytes:
    """A PNG with chunks of any kind behind its head."""
    head = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 13 * 4)
    whole = ((b"IHDR", head), *chunks, (b"IDAT", pixels), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in whole
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def texts(data: bytes) -> dict[Any, Any]:
    with opened_picture(io.BytesIO(data), ["PNG"]) as image:
        return dict(image.info)


def test_texts_are_there_when_it_is_open(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b", zip=True)
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    assert texts(path.read_bytes()) == {"a": "b"}
    with opened_picture(path, ["PNG"]) as image:
        assert image.size == (4, 4)


@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"zTXt"])
def test_more_text_than_is_read_is_refused_before_it_is_kept(kind: bytes) -> None:
    packed = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    data = b"a\0" + b"x" * 2**20 if kind == b"tEXt" else packed + zlib.compress(bytes(2**20 - 9))
    assert texts(png((kind, data)))["a"]
    with pytest.raises(UnreadablePicture, match="more than 8 MB of text"):
        texts(png(*[(kind, data)] * 9))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        png(size=(2**31 - 1, 2**31 - 1)),
        png(size=(0, 4)),
        png((b"eXIf", b"II*\0")),
        png((b"iCCP", b"a\0\0" + zlib.compress(bytes(9 * 2**20)))),
        png()[:-30],
    ],
)
def test_nothing_else_comes_of_a_damaged_one(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"a\.png"):
        read_record(path)
