"""Stores the ids of starred pictures in a JSON file beside the pictures, because the index may be rebuilt."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.pictures.gallery import is_id
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

NAME = ".favourites.json"
_MAX_BYTES = 64 * 2**20
"""Maximum size of the file in bytes; enough for two million ids."""


class Favourites:
    """The file of starred pictures' ids. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()

    def stamp(self) -> tuple[int, int, int] | None:
        """Return a value that changes whenever the file does; None if there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def ids(self) -> set[str]:
        """Return all starred ids; empty if the file can't be read."""
        try:
            return _read(self._path)
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return set()

    def mark(self, ids: Iterable[str], *, on: bool) -> None:
        """Star pictures, or remove their stars.

        Raises:
            StorageError: the file can't be written.
        """
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                starred = self._kept()
                starred = starred.union(ids) if on else starred.difference(ids)
                text = json.dumps({"version": 1, "ids": sorted(starred)}, indent=0)
                write_whole(self._path, text.encode())
            except OSError as error:
                reason = system_reason(error)
                raise StorageError(
                    Text(
                        f"The favourite could not be kept in {self._path.name}: {reason}.",
                        f"收藏无法保存到 {self._path.name}：{reason}。",
                    )
                ) from error

    def _kept(self) -> set[str]:
        """Read the file; a damaged one is renamed before a new one is written."""
        try:
            return _read(self._path)
        except ValueError:
            aside = self._path.with_name(f"{NAME}.broken-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
            log.warning("%s is damaged; it is kept as %s", self._path, aside.name)
            self._path.replace(aside)
            return set()


def _read(path: Path) -> set[str]:
    """Read the ids; empty without a file. Raises ValueError for invalid content, OSError if it can't be read."""
    try:
        data = json.loads(read_regular(path, _MAX_BYTES))
    except FileNotFoundError:
        return set()
    except RecursionError as error:
        raise ValueError(str(error)) from error
    ids = data.get("ids") if isinstance(data, dict) else None
    if not isinstance(ids, list):
        raise ValueError("it holds no list of ids")
    return {each for each in ids if isinstance(each, str) and is_id(each)}
