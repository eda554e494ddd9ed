"""Opens untrusted picture files and reads their headers and texts, with limited memory and without decoding pixels.

Before Pillow sees a file, its structure is walked to check its dimensions, the number of chunks or segments, and the
size of texts, EXIF and colour profile.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from zimage_app.models.disk.regular_file import open_regular

MAX_TEXT = 8 * 2**20
"""Maximum bytes of texts, EXIF and colour profiles in one file; a workflow of a thousand nodes has one or two MB."""
MAX_PIXELS = 178_956_970
"""Maximum pixels of a file that is opened for its texts; Pillow refuses larger files."""
_MAX_PIECES = 2_000
"""Maximum chunks or segments without pixels; ordinary files have a few dozen."""
_MAX_PIXEL_PIECES = 200_000
"""Maximum chunks of pixels; some programs write only 8 KB per chunk."""
_MAX_SCANS = 100
"""Maximum scans of a progressive JPEG, each of which covers the whole picture; ten are usual."""
_UNPACKED = 1032
"""Maximum factor by which a deflated text can grow when decompressed."""
_MAX_PACKED = 2**20
"""Maximum bytes of a decompressed text; Pillow refuses longer ones."""


class UnreadablePicture(Exception):
    """The file isn't a picture, is damaged, or exceeds a limit."""


class TooManyPixels(UnreadablePicture):
    """The picture's header claims more pixels than allowed."""


@contextmanager
def opened_picture(
    file: Path | BinaryIO, formats: Sequence[str], max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """Check and open a picture file inside the context; ``formats`` are Pillow's names.

    Raises:
        UnreadablePicture: the file can't be opened, or decoding fails inside the context.
    """
    try:
        if isinstance(file, Path):
            with open_regular(file) as opened, opened_picture(opened, formats, max_pixels) as image:
                yield image
            return
        check_picture(file, formats, max_pixels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures, which aren't decoded here, and damaged EXIF
            with Image.open(file, formats=tuple(formats)) as image:
                yield image
    except _DAMAGED as error:
        raise UnreadablePicture(str(error)) from error


def is_picture(data: bytes) -> bool:
    """Whether data begins like a PNG, JPEG or WebP picture."""
    return any(begins(data[:12]) for begins in _BEGINS.values())


def check_picture(file: BinaryIO, formats: Sequence[str], max_pixels: int) -> None:
    """Walk a picture file's structure from its start, and rewind it.

    Raises:
        UnreadablePicture: the format isn't allowed, or the file has too many pixels, chunks or texts.
    """
    begin = file.read(12)
    file.seek(0)
    name = next((name for name in formats if _BEGINS[name](begin)), None)
    if name is None:
        raise UnreadablePicture(f"it is none of {', '.join(formats)}")
    try:
        width, height = _WALKS[name](file)
    except (ValueError, LookupError, struct.error) as error:
        raise UnreadablePicture(str(error)) from error
    finally:
        file.seek(0)
    if width * height > max_pixels:
        raise TooManyPixels(f"{width} x {height} pixels")


def exif_of(image: Image.Image) -> Image.Exif:
    """Return a picture's EXIF without decoding pixels, as Pillow's ``getexif`` does for a PNG without EXIF."""
    exif = Image.Exif()
    data = image.info.get("exif")
    if isinstance(data, bytes):
        exif.load(data)
    return exif


_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    ArithmeticError,
    RecursionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Exceptions that Pillow raises for damaged files."""


# The three formats. Each walk returns (width, height) and raises ValueError if a limit is exceeded.


class _Count:
    """Counts a file's chunks or segments and their bytes, and enforces the limits."""

    def __init__(self) -> None:
        self._pieces = 0
        self._pixel_pieces = 0
        self._kept = 0

    def piece(self, length: int) -> None:
        """Count a chunk of up to ``length`` bytes that Pillow keeps in memory."""
        self._pieces += 1
        self._kept += length
        if self._pieces > _MAX_PIECES:
            raise ValueError(f"more than {_MAX_PIECES} pieces")
        if self._kept > MAX_TEXT:
            raise ValueError(f"more than {MAX_TEXT >> 20} MB of text")

    def pixels(self) -> None:
        """Count a chunk of pixels."""
        self._pixel_pieces += 1
        if self._pixel_pieces > _MAX_PIXEL_PIECES:
            raise ValueError(f"more than {_MAX_PIXEL_PIECES} pieces of pixels")


def _walk_png(file: BinaryIO) -> tuple[int, int]:
    file.seek(8)
    count = _Count()
    size: tuple[int, int] | None = None
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            raise ValueError("a chunk without a name")
        if size is None:
            if (length, kind) != (13, b"IHDR"):
                raise ValueError("it doesn't begin with its size")
            width, height = struct.unpack(">II", file.read(8))
            size = width, height
            length -= 8
        elif kind == b"IHDR":  # Pillow would take this one's size
            raise ValueError("it has two sizes")
        elif kind == b"IDAT":
            count.pixels()
        elif kind in (b"zTXt", b"iTXt", b"iCCP"):
            count.piece(max(length, min(_UNPACKED * length, _MAX_PACKED)))
        else:
            count.piece(length)
        if kind == b"IEND":
            break
        file.seek(length + 4, os.SEEK_CUR)
    if size is None:
        raise ValueError("it has no size")
    return size


def _walk_jpeg(file: BinaryIO) -> tuple[int, int]:
    file.seek(2)
    count = _Count()
    size: tuple[int, int] | None = None
    while (marker := _jpeg_marker(file)) != _START_OF_SCAN:
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # markers without a segment
            count.piece(0)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        count.piece(length)
        if marker in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            size = width, height
            length -= 5
        file.seek(max(0, length - 2), os.SEEK_CUR)
    if size is None:
        raise ValueError("it has no size")
    return size


_START_OF_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers, whose segment holds a JPEG's size."""


def _jpeg_marker(file: BinaryIO) -> int:
    """Read the next marker's number, skipping fill bytes before it."""
    for _ in range(_MAX_PIECES):
        byte = file.read(1)
        if byte == b"\xff":
            continue
        file.seek(-1, os.SEEK_CUR)
        break
    (marker,) = struct.unpack("B", file.read(1))
    return int(marker)


def check_scans(data: bytes) -> None:
    """Raise UnreadablePicture for a JPEG with so many scans that decoding it would take minutes."""
    if _BEGINS["JPEG"](data) and data.count(bytes((0xFF, _START_OF_SCAN))) > _MAX_SCANS:
        raise UnreadablePicture(f"more than {_MAX_SCANS} scans")


def _walk_webp(file: BinaryIO) -> tuple[int, int]:
    file.seek(12)
    count = _Count()
    size: tuple[int, int] | None = None
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if size is None:
            begin = file.read(10)
            size = _WEBP_SIZES[kind](begin)
            file.seek(-len(begin), os.SEEK_CUR)
        if kind in (b"EXIF", b"XMP ", b"ICCP"):
            count.piece(length)
        else:
            count.piece(0)
        file.seek(length + length % 2, os.SEEK_CUR)
    if size is None:
        raise ValueError("it has no size")
    return size


def _plain_webp(begin: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<6xHH", begin)
    return width & 0x3FFF, height & 0x3FFF


def _lossless_webp(begin: bytes) -> tuple[int, int]:
    (bits,) = struct.unpack("<xI", begin[:5])
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _extended_webp(begin: bytes) -> tuple[int, int]:
    return int.from_bytes(begin[4:7], "little") + 1, int.from_bytes(begin[7:10], "little") + 1


_WEBP_SIZES = {b"VP8 ": _plain_webp, b"VP8L": _lossless_webp, b"VP8X": _extended_webp}
_WALKS: dict[str, Callable[[BinaryIO], tuple[int, int]]] = {
    "PNG": _walk_png,
    "JPEG": _walk_jpeg,
    "WEBP": _walk_webp,
}
_BEGINS: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda begin: begin.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda begin: begin.startswith(b"\xff\xd8\xff"),
    "WEBP": lambda begin: begin[:4] == b"RIFF" and begin[8:12] == b"WEBP",
}
