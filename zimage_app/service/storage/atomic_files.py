"""Atomic writes of files."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file atomically: write a temporary file beside it, sync it to disk, then rename it.

    A crash leaves the old content or the new one. Raises OSError as the system does.
    """
    # The file's name is cut, because it may be as long as a name can be.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Sync a rename in a folder to disk, where the file system can; the file itself is there already.

    Shared folders of virtual machines and network drives refuse it.
    """
    if os.name != "posix":  # Windows can't open a folder, and NTFS journals the rename
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
