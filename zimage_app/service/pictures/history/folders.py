"""Which files lie under ``outputs/``, looked at again only where a folder changed. Knows nothing of what is in them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from zimage_app.service.pictures.gallery import is_stage

TRASH = ".trash"
"""Folder of deleted pictures, each at the place where it was below ``outputs/``."""
_SETTLED_NS = 2 * 10**9
"""A folder's time may be the same before and after a change that comes within a file system's tick."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A PNG as the system lists it."""

    path: str
    """Below ``outputs/``, with slashes."""
    mtime: int
    """Of its contents, in nanoseconds."""
    size: int

    @property
    def folder(self) -> str:
        """Where it lies, below ``outputs/``; empty for ``outputs/`` itself."""
        return self.path.rpartition("/")[0]


@dataclass
class _Folder:
    mtime: int
    below: list[str]
    settled: bool


@dataclass
class Listing:
    """What a look at the folders found."""

    changed: dict[str, list[PictureFile]] = field(default_factory=dict)
    """All files of each folder that may be otherwise than at the last look."""
    folders: set[str] = field(default_factory=set)
    """All folders that there are."""


class Folders:
    """The folders below ``outputs/`` and the trash. Other hidden folders and links are passed over."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, _Folder] = {}

    def look(self, *, thorough: bool = False) -> Listing:
        """What changed since the last look; ``thorough``: as if there had been none."""
        if thorough:
            self._known.clear()
        listing = Listing()
        waiting = [""]
        while waiting:
            name = waiting.pop()
            try:
                waiting += self._look_into(name, listing)
            except OSError:  # gone, or closed to us: its files are then not there either
                self._known.pop(name, None)
        return listing

    def _look_into(self, name: str, listing: Listing) -> list[str]:
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
    """Whether a file's name is one that a database can hold; on Linux any bytes are a name."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    ours = name.endswith(".png") and not name.startswith(".") and not is_stage(name)
    return ours and entry.is_file(follow_symlinks=False)


def picture_file(root: Path, path: Path) -> PictureFile:
    """A file as it is now; raises OSError where there is none."""
    found = path.stat()
    return PictureFile(path.relative_to(root).as_posix(), found.st_mtime_ns, found.st_size)
