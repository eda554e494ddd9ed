"""Lists the PNG files below ``outputs/``; folders that haven't changed are not read again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from zimage_app.service.pictures.gallery import is_stage

TRASH = ".trash"
"""Folder of deleted pictures, each at the same relative path as before below ``outputs/``."""
_SETTLED_NS = 2 * 10**9
"""A folder changed less than this long ago is read again next time, because file times have a coarse resolution."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A PNG file as listed by the system."""

    path: str
    """Path relative to ``outputs/``, with forward slashes."""
    mtime: int
    """Modification time in nanoseconds."""
    size: int

    @property
    def folder(self) -> str:
        """The file's folder relative to ``outputs/``; empty for ``outputs/`` itself."""
        return self.path.rpartition("/")[0]


@dataclass
class _Folder:
    mtime: int
    below: list[str]
    settled: bool


@dataclass
class FolderScan:
    """The result of one scan of the folders."""

    changed: dict[str, list[PictureFile]] = field(default_factory=dict)
    """Folder -> all its files, for folders that may have changed since the last scan."""
    folders: set[str] = field(default_factory=set)
    """All existing folders."""


class Folders:
    """The folders below ``outputs/``, including the trash. Other hidden folders and links are skipped."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, _Folder] = {}

    def look(self, *, thorough: bool = False) -> FolderScan:
        """Scan for changes since the last scan; ``thorough`` reads all folders."""
        if thorough:
            self._known.clear()
        listing = FolderScan()
        waiting = [""]
        while waiting:
            name = waiting.pop()
            try:
                waiting += self._look_into(name, listing)
            except OSError:  # gone or not accessible: its files count as gone
                self._known.pop(name, None)
        return listing

    def _look_into(self, name: str, listing: FolderScan) -> list[str]:
        path = self._root / name
        mtime = path.stat().st_mtime_ns
        known = self._known.get(name)
        if known is None or not known.settled or known.mtime != mtime:
            now = time.time_ns()
            files, below = self._entries(name)
            newest = max([mtime, *(file.mtime for file in files)])
            known = self._known[name] = _Folder(mtime, below, now - newest > _SETTLED_NS)
            listing.changed[name] = files
        listing.folders.add(name)
        return known.below

    def _entries(self, name: str) -> tuple[list[PictureFile], list[str]]:
        files: list[PictureFile] = []
        below: list[str] = []
        with os.scandir(self._root / name) as entries:
            for entry in entries:
                if not _is_text(entry.name):
                    continue
                path = f"{name}/{entry.name}" if name else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path == TRASH or not entry.name.startswith("."):
                        below.append(path)
                elif _is_picture(entry):
                    found = entry.stat(follow_symlinks=False)
                    files.append(PictureFile(path, found.st_mtime_ns, found.st_size))
        return files, below


def _is_text(name: str) -> bool:
    """Whether a file name is valid Unicode, as the database needs; Linux allows any bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    ours = name.endswith(".png") and not name.startswith(".") and not is_stage(name)
    return ours and entry.is_file(follow_symlinks=False)


def picture_file(root: Path, path: Path) -> PictureFile:
    """Return the current state of a file; raises OSError if it doesn't exist."""
    found = path.stat()
    return PictureFile(path.relative_to(root).as_posix(), found.st_mtime_ns, found.st_size)
