"""Files that nobody expects in a folder, and a bound on memory to read them in."""

from __future__ import annotations

import os
from pathlib import Path


def sparse(path: Path, size: int, begin: bytes = b"") -> Path:
    """A file of so many bytes, of which only the beginning takes room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(begin)
    os.truncate(path, size)
    return path


def pipe(path: Path) -> Path:
    """A named pipe that nobody writes into: whoever opens it for reading waits for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path
