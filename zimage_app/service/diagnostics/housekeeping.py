"""Deletes leftovers of earlier runs when the app starts.

These are half-written files of a killed app, temporary folders of processes that ended, and old broken databases. Log,
start pictures, thumbnails and uploads are bounded where they are written. Pictures are never touched.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import psutil

from zimage_app.domain.fetching import shown_size
from zimage_app.service.setup.config import StudioConfig

log = logging.getLogger(__name__)

TEMPORARY = "zimage-studio"
"""Temporary folders of the app are named ``zimage-studio-PID-…``, so that their process is known."""
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""Names of temporary files of ``service/storage/atomic_files.py``."""
_OLD = 3600.0
"""Age in seconds from which an unfinished file is abandoned."""
_ASIDE = re.compile(r"(.+)\.broken-[\d-]+")
_MAX_ASIDE = 3
"""Broken files kept per database."""


@dataclass(slots=True)
class CleanupCount:
    """Number and size of the deleted files."""

    files: int = 0
    size: int = 0
    """Total bytes."""


def start_cleanup(config: StudioConfig) -> Thread:
    """Run ``clean_up`` in a background thread."""
    temporary = Path(tempfile.gettempdir())  # read at import, because the app later sets its own temporary folder
    thread = Thread(target=clean_up, args=(config, temporary), name="housekeeping", daemon=True)
    thread.start()
    return thread


def clean_up(config: StudioConfig, temporary: Path) -> CleanupCount:
    """Delete all leftovers; returns their number and size. Files that can't be deleted stay; raises nothing."""
    done = CleanupCount()
    for find in (
        lambda: _unfinished(config),
        lambda: _set_aside(config),
        lambda: _orphans(temporary),
    ):
        _delete_all(find, done)
    if done.files:
        log.info("tidied up: %d file%s, %s", done.files, "" if done.files == 1 else "s", shown_size(done.size))
    return done


def _delete_all(find: Callable[[], Iterator[Path]], done: CleanupCount) -> None:
    try:
        for path in find():
            size = _size(path)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            if not path.exists():
                done.files += 1
                done.size += size
    except OSError as error:
        log.info("could not tidy up: %s", error)


def _unfinished(config: StudioConfig) -> Iterator[Path]:
    """Yield files that a killed app had begun to write."""
    before = time.time() - _OLD
    for root in (config.outputs, config.presets, config.loras):
        for folder in (root, *(path for path in _entries(root) if path.is_dir() and not path.is_symlink())):
            for path in _entries(folder):
                if _UNFINISHED.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before:
                    yield path


def _set_aside(config: StudioConfig) -> Iterator[Path]:
    """Yield broken databases, except the newest ones of each."""
    for folder in (config.outputs, config.state):
        kept: dict[str, list[Path]] = defaultdict(list)
        for path in _entries(folder):
            if (match := _ASIDE.fullmatch(path.name)) and path.is_file():
                kept[match[1]].append(path)
        for paths in kept.values():
            yield from sorted(paths, key=lambda path: path.name)[:-_MAX_ASIDE]


def _orphans(temporary: Path) -> Iterator[Path]:
    """Yield temporary folders whose process has ended."""
    for path in _entries(temporary):
        name, _, rest = path.name.removeprefix(TEMPORARY).lstrip("-").partition("-")
        ours = path.name.startswith(f"{TEMPORARY}-") and rest and path.is_dir() and not path.is_symlink()
        if ours and name.isdecimal() and not psutil.pid_exists(int(name)):
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if file.is_file())
