"""Opens untrusted files: accepts regular files only, up to a size limit.

Reading a named pipe, a socket or a device could block for ever, and a sparse file of 50 GB would fill the memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, max_bytes: int | None = None) -> BinaryIO:
    """Open a regular file for reading (links are followed).

    Raises:
        OSError: the file can't be opened, isn't a regular file, or has more than ``max_bytes`` bytes.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - returned to the caller
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if max_bytes is not None and status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {max(1, max_bytes >> 20)} MB", str(path))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a whole regular file, up to its size at opening; raises OSError as ``open_regular`` does."""
    with open_regular(path, max_bytes) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def _open_at_once(path: str, flags: int) -> int:
    """Open without blocking on a named pipe. Windows has neither the flag nor pipes in folders."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
