"""Streams many files as one ZIP, without temporary files and with little memory."""

from __future__ import annotations

import io
import itertools
import logging
import zipfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePath

from zimage_app.models.disk.regular_file import open_regular

log = logging.getLogger(__name__)

_PIECE = 256 * 1024


class _ChunkBuffer(io.RawIOBase):
    """Write-only file for ``zipfile`` that collects the written bytes until they are taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """Return and forget the bytes written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def zip_stream(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """Yield the bytes of a ZIP of (name inside, file). Files are stored uncompressed, because PNGs are compressed.

    Files that can't be opened are left out. A name that is already used gets a number.
    """
    outlet = _ChunkBuffer()
    names: set[str] = set()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            try:
                source = open_regular(path)
            except OSError as error:
                log.warning("%s is left out of a ZIP: %s", path, error)
                continue
            inside = _free(name, names)
            names.add(inside)
            # A ZIP can't store a time before 1980, which files have if the clock was wrong.
            info = zipfile.ZipInfo.from_file(path, inside, strict_timestamps=False)
            with source, archive.open(info, "w") as target:
                while piece := source.read(_PIECE):
                    target.write(piece)
                    yield outlet.taken()
    yield outlet.taken()


def _free(name: str, taken: Container[str]) -> str:
    """Return the name, with a number if it is taken."""
    path = PurePath(name)
    numbered = (f"{path.stem} {number}{path.suffix}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)
