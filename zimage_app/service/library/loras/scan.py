"""Finds the LoRA files below a folder and the files that belong to each. Opens no file.

Follows links, even out of the folder, because the user put them there. A folder is visited once, even if several links
lead to it; links in a circle are reported.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.text import Text
from zimage_app.service.library.loras.metadata import COMPANIONS
from zimage_app.service.library.loras.sidecar import SIDECAR

SUFFIX = ".safetensors"
_PICTURES = tuple(f"{middle}{ending}" for middle in ("", ".preview") for ending in (".png", ".jpg", ".jpeg", ".webp"))


Stamp = tuple[int, int]
"""(size in bytes, modification time in ns); a file with another stamp has changed."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file as the scan found it."""

    name: str
    """Path below the folder, with forward slashes, made ``readable``."""
    path: Path
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class LoraFiles:
    """A LoRA file with the files beside it."""

    lora: ScannedFile
    notes: ScannedFile | None
    companions: tuple[ScannedFile, ...]
    """Most trusted first."""
    picture: ScannedFile | None
    problem: Text | None = None
    """Set for a link that leads in a circle, which is not a LoRA; its name then has no suffix."""


_CIRCLE = Text(
    "is a link that leads in a circle; delete it, the other LoRAs are not affected",
    "是首尾相接的循环链接；请将其删除，其他 LoRA 不受影响",
)


def scan(folder: Path) -> Iterator[LoraFiles]:
    """Yield every LoRA below a folder; none where the folder does not exist."""
    circles: list[str] = []
    for below, files in _folders(folder, circles):
        for name in files:
            if name.lower().endswith(SUFFIX):
                found = _with_companions(folder, below, name, files)
                if found is not None:
                    yield found
    for name in circles:
        yield LoraFiles(ScannedFile(readable(name), folder / name, (0, 0)), None, (), None, _CIRCLE)


def _folders(root: Path, circles: list[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield (path below the root, names of its files) for each folder; real folders come before linked ones.

    Links to a folder that contains them are not followed, but added to ``circles``.
    """
    visited: set[tuple[int, int]] = set()
    waiting: list[str] = [""]
    linked: list[str] = []
    while waiting or linked:
        below = waiting.pop() if waiting else linked.pop()
        files: set[str] = set()
        try:
            status = os.stat(root / below)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(root / below) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    inner = f"{below}/{entry.name}" if below else entry.name
                    if _is_circle(entry):
                        circles.append(inner)
                    elif entry.is_dir():
                        (linked if entry.is_symlink() else waiting).append(inner)
                    else:
                        files.add(entry.name)
        except OSError:  # deleted meanwhile, or not readable
            continue
        yield below, frozenset(files)


def _is_circle(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to itself, or to a folder that contains it."""
    if not entry.is_symlink():
        return False
    try:
        os.stat(entry.path)
    except OSError as error:
        return error.errno == errno.ELOOP
    target, place = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
    return os.path.isdir(target) and os.path.commonpath((target, place)) == target


def _with_companions(root: Path, below: str, name: str, files: frozenset[str]) -> LoraFiles | None:
    stem = name[: -len(SUFFIX)]

    def at(ending: str) -> ScannedFile | None:
        found = next((each for each in (f"{stem}{ending}", f"{stem}{ending.upper()}") if each in files), None)
        return None if found is None else _file(root, below, found)

    lora = _file(root, below, name)
    if lora is None:
        return None
    return LoraFiles(
        lora=lora,
        notes=at(SIDECAR),
        companions=tuple(file for ending in COMPANIONS if (file := at(ending))),
        picture=next((file for ending in _PICTURES if (file := at(ending))), None),
    )


def _file(root: Path, below: str, name: str) -> ScannedFile | None:
    inner = f"{below}/{name}" if below else name
    path = root / inner
    try:
        status = path.stat()
    except OSError:  # a dangling link
        return None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
        return None
    return ScannedFile(readable(inner), path, (status.st_size, status.st_mtime_ns))


def readable(name: str) -> str:
    """A file's name as valid text; bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
