"""The folder ``presets/wildcards/`` as a library, with one text file per list.

A list's name is its path in the folder without ``.txt``. Each line is an entry; empty lines and lines that begin with
``#`` are ignored. Names are looked up in the folder's listing, so they can't lead out of it.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from zimage_app.domain.errors import RequestError, system_reason
from zimage_app.domain.similar_names import similar_names
from zimage_app.domain.text import Text, listed, normalised
from zimage_app.models.disk.regular_file import open_regular

SUFFIX = ".txt"
MAX_FILES = 5000
MAX_LINES = 20_000
_MAX_BYTES = 2 * 2**20
_COMMENT = "#"
_MAX_SHOWN = 24
_FRESH = 1.0
"""Seconds for which the folder is not listed again, if it had the requested name."""
_Stamp = tuple[int, int]
"""(modification time in ns, size in bytes) of a file."""


@dataclass(frozen=True, slots=True)
class WildcardList:
    """One list of entries."""

    name: str
    """The name as written between the underscores."""
    lines: tuple[str, ...] = ()
    about: str = ""
    """The comment on its first line."""
    problem: Text | None = None
    """Why the file can't be read; ``lines`` is then empty."""


class WildcardLibrary:
    """The wildcards of some folders. Thread-safe; edited files are read again at the next call."""

    def __init__(self, folder: Path, *shipped: Path) -> None:
        self.folder = folder
        self._folders = (*shipped, folder)
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[_Stamp, WildcardList]] = {}
        self._files: dict[str, Path] = {}
        self._listed = -_FRESH

    def lists(self) -> tuple[WildcardList, ...]:
        """All lists, by name; broken ones too, with their ``problem``."""
        with self._lock:
            self._look()
            found = (self._list(name, path) for name, path in self._files.items())
            return tuple(sorted(found, key=lambda each: _key(each.name)))

    def lines(self, name: str) -> tuple[str, ...]:
        """The entries of one list; its name is compared without regard to case and full width.

        Raises:
            RequestError: there is no such list (names similar ones), or its file can't be read or is empty.
        """
        with self._lock:
            full = self._full(name) if time.monotonic() - self._listed < _FRESH else None
            if full is None:
                self._look()
                full = self._full(name)
            if full is None:
                raise _unknown(name, sorted(self._files))
            found = self._list(full, self._files[full])
        if found.problem is not None:
            raise RequestError("prompt", found.problem)
        if not found.lines:
            raise RequestError(
                "prompt",
                Text(
                    f"the wildcard __{found.name}__ has no lines yet; write one entry on each",
                    f"通配符 __{found.name}__ 还没有内容；请每行写一项",
                ),
            )
        return found.lines

    def _look(self) -> None:
        """List the folders; where two lists have the same name, the user's own is used."""
        self._files = {name: path for folder in self._folders for name, path in islice(_named(folder), MAX_FILES)}
        self._read = {path: each for path, each in self._read.items() if path in self._files.values()}
        self._listed = time.monotonic()

    def _full(self, name: str) -> str | None:
        """The name as in the folder; None where there is no such list."""
        return next((each for each in self._files if _key(each) == _key(name)), None)

    def _list(self, name: str, path: Path) -> WildcardList:
        """One list, from the cache or its file. Call with the lock held."""
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size
            if path not in self._read or self._read[path][0] != stamp:
                self._read[path] = stamp, _read_list(name, path)
        except OSError as error:
            reason = system_reason(error)
            problem = Text(f"{name}{SUFFIX} can't be read ({reason})", f"{name}{SUFFIX} 无法读取（{reason}）")
            return WildcardList(name, problem=problem)
        return self._read[path][1]


def _unknown(name: str, names: list[str]) -> RequestError:
    known = ", ".join(similar_names(name, names)) or listed(names, _MAX_SHOWN)
    there = Text(f"there are {known}", f"可用：{known}") if known else Text("there are none yet", "还没有任何通配符")
    return RequestError(
        "prompt",
        Text(
            rf"there is no wildcard __{name}__; {there.en}; for plain underscores write \__",
            rf"没有通配符 __{name}__；{there.zh}；普通下划线请写成 \__",
        ),
    )


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of the lists in a folder; links that lead out of it are skipped."""
    root = folder.resolve()
    for path in _texts(folder):
        if path.resolve().is_relative_to(root):
            yield normalised(path.relative_to(folder).as_posix()[: -len(SUFFIX)], "NFC"), path


def _texts(folder: Path) -> Iterator[Path]:
    for path in folder.rglob(f"*{SUFFIX}"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _read_list(name: str, path: Path) -> WildcardList:
    file = f"{name}{SUFFIX}"
    with open_regular(path) as opened:
        data = opened.read(_MAX_BYTES + 1)
    try:
        # Unlike splitlines, this ends lines at line feeds and carriage returns only: U+2028 may be part of a prompt.
        lines = [line.removesuffix("\n") for line in io.StringIO(data.decode("utf-8-sig"), newline=None)]
    except UnicodeDecodeError:
        problem = Text(
            f"{file} is not UTF-8 text; save it as UTF-8 in your editor",
            f"{file} 不是 UTF-8 文本；请在编辑器中另存为 UTF-8 编码",
        )
        return WildcardList(name, problem=problem)
    if len(data) > _MAX_BYTES or len(lines) > MAX_LINES:
        problem = Text(
            f"{file} has more than {MAX_LINES} lines or 2 MB; split it",
            f"{file} 超过 {MAX_LINES} 行或 2 MB；请拆分",
        )
        return WildcardList(name, problem=problem)
    stripped = [line.strip() for line in lines]
    about = stripped[0].lstrip(_COMMENT).strip() if stripped and stripped[0].startswith(_COMMENT) else ""
    return WildcardList(name, tuple(line for line in stripped if line and not line.startswith(_COMMENT)), about)


def _key(name: str) -> str:
    return normalised(name, "NFKC").casefold()
