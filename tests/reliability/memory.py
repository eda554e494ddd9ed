"""How much memory this process takes, and took at most since it was asked; on Linux only, elsewhere 0."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def resident() -> int:
    """Bytes in memory now."""
    return _bytes("VmRSS:")


def settled() -> int:
    """Bytes in memory once everything that is free has been given back."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
    return resident()


def begin_peak() -> int:
    """Forget the peak so far; gives the bytes in memory now."""
    try:
        _RESET.write_text("5")
    except OSError:
        return peak()  # not ours to reset: growth is then counted beyond the highest so far
    return resident()


def peak() -> int:
    """Bytes in memory at most since ``begin_peak``."""
    return _bytes("VmHWM:")


def _bytes(name: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
