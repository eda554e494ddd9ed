"""Picture files of anybody, opened as far as their head: sizes and texts. No pixel is unpacked; memory is bounded.

Knows nothing of what the texts say.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

MOST_TEXT = 8 * 2**20
"""Bytes of all texts in one file. Workflows of a thousand nodes take one or two million."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
_PACKED = (b"zTXt", b"iTXt")
_UNPACKED = 1032
"""Times as long as before a packed text can become, by its format."""
_LONGEST_PACKED = 2**20
"""Bytes; Pillow refuses what becomes longer."""


class UnreadablePicture(Exception):
    """A file is no picture, is damaged, or holds too much to be read."""


@contextmanager
def opened_picture(file: Path | BinaryIO, formats: Sequence[str]) -> Iterator[Image.Image]:
    """A picture file for as long as the context lasts; ``formats`` as Pillow names them.

    Raises:
        UnreadablePicture: also for what goes wrong with the picture inside the context.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, none of which is unpacked, and of damaged EXIF
            if "PNG" in formats:
                _check_texts(file)
            with Image.open(file, formats=tuple(formats)) as image:
                yield image
    except _DAMAGED as error:
        raise UnreadablePicture(str(error)) from error


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
"""What Pillow was seen to raise for damaged files, and what it may."""


def _check_texts(file: Path | BinaryIO) -> None:
    """Raise ValueError for a PNG whose texts, which Pillow would all keep, are too much."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            _count_texts(opened)
    else:
        _count_texts(file)
        file.seek(0)


def _count_texts(file: BinaryIO) -> None:
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return
    texts = 0
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":  # Pillow opens a file as far as this
            return
        if kind in _TEXTS:
            texts += max(length, min(_UNPACKED * length, _LONGEST_PACKED)) if kind in _PACKED else length
            if texts > MOST_TEXT:
                raise ValueError(f"more than {MOST_TEXT >> 20} MB of text")
        file.seek(length + 4, 1)
