"""Many files as one ZIP, made while it is sent: nothing is written to disk, and little is held in memory."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from zimage_app.models.disk.regular_file import open_regular

log = logging.getLogger(__name__)

_PIECE = 256 * 1024


class _Outlet(io.RawIOBase):
    """What ``zipfile`` writes to; gives it on in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What has been written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def zip_stream(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A ZIP of (name inside, file). PNGs are packed already and are stored as they are.

    A file that has gone meanwhile is left out.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            try:
                source = open_regular(path)
            except OSError as error:
                log.warning("%s is left out of a ZIP: %s", path, error)
                continue
            with source, archive.open(zipfile.ZipInfo.from_file(path, name), "w") as target:
                while piece := source.read(_PIECE):
                    target.write(piece)
                    yield outlet.taken()
    yield outlet.taken()
