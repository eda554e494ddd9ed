"""A lock that allows one app per folder of pictures, and a note with the running app's address.

The operating system releases the lock when the app dies. Uses no HTTP: the code that starts a server writes the note,
and clients read it.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text
from zimage_app.models.disk.file_lock import take
from zimage_app.models.disk.regular_file import read_regular

_LOCK_NAME = "app.lock"
_NOTE_NAME = "app.json"
_MAX_NOTE = 4096
_LOCK_TIMEOUT = 0.5
"""Seconds to wait for the lock, because ``running_app`` takes it for a moment."""


@dataclass(frozen=True, slots=True)
class RunningApp:
    """The address of the app that uses a folder."""

    address: str
    """Such as ``http://127.0.0.1:7860``."""
    process: int
    """Process id."""
    key: str
    """API key; only the user who runs the app can read the note."""


class FolderInUse(StudioError):
    """Another running app uses the folder of pictures; names its address and process id if known."""

    def __init__(self, folder: Path, app: RunningApp | None) -> None:
        where = f" (process {app.process}, {app.address})" if app else ""
        place = f"（进程 {app.process}，{app.address}）" if app else ""
        super().__init__(
            Text(
                f"The app is already running on {folder}{where}; use that one, or start this one with another folder by"
                " --outputs.",
                f"本程序已在 {folder} 上运行{place}；请使用该实例，或用 --outputs 为新实例指定其他目录。",
            )
        )
        self.app = app


class FolderLock:
    """The lock that an app must hold to run the jobs of a folder and to write its store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / _LOCK_NAME, thread_local=False)
        self._unlockable = False

    def acquire(self) -> None:
        """Take the lock, unless this object holds it already.

        Where the file system has no locks, goes on without; see ``take``.

        Raises:
            BlockingIOError: another process holds it.
            OSError: the folder can't be written to.
        """
        if self._lock.is_locked or self._unlockable:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._unlockable = not take(self._lock, _LOCK_TIMEOUT)
            # A killed app leaves its address, which other programs would call until this app publishes its own.
            (self._folder / _NOTE_NAME).unlink(missing_ok=True)
        except Timeout as error:
            raise BlockingIOError(errno.EWOULDBLOCK, "another running copy of the app has it") from error

    def note(self, address: str, key: str) -> None:
        """Write the running app's address and key to a file that only this user can read; raises OSError."""
        path = self._folder / _NOTE_NAME
        fresh = path.with_name(f"{_NOTE_NAME}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(RunningApp(address, os.getpid(), key)), file)
        fresh.replace(path)

    def release(self) -> None:
        """Delete the note and release the lock."""
        if self._lock.is_locked:
            (self._folder / _NOTE_NAME).unlink(missing_ok=True)
            self._lock.release()


def running_app(folder: Path) -> RunningApp | None:
    """Return the app that uses a folder; None if there is none, or its address isn't known."""
    lock = FileLock(folder / _LOCK_NAME, thread_local=False)
    if not (folder / _LOCK_NAME).exists():
        return None
    try:
        take(lock)
    except Timeout:
        return _read_note(folder / _NOTE_NAME)
    except OSError:
        return None
    lock.release()
    return None


def _read_note(path: Path) -> RunningApp | None:
    try:
        found = json.loads(read_regular(path, _MAX_NOTE))
        return RunningApp(str(found["address"]), int(found["process"]), str(found["key"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
