"""Files in folders that anybody may put things into: only regular files are read, and never more than was meant.

A named pipe, a socket or a device would keep its reader for ever, and a sparse file of 50 GB would fill the memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, most: int | None = None) -> BinaryIO:
    """A regular file (links are followed), open for reading.

    Raises:
        OSError: as the system does; also for what is no regular file, or has more than ``most`` bytes.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - handed to the caller
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if most is not None and status.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {max(1, most >> 20)} MB", str(path))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, most: int) -> bytes:
    """All of a regular file, as large as it is when it is opened; raises OSError as ``open_regular`` does."""
    with open_regular(path, most) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for somebody to write into a pipe. Windows has no such flag, and no pipes in folders."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
