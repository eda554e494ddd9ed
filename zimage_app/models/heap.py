"""The heap of the C library: how much freed memory it keeps for later allocations. Acts on Linux with glibc only."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Numbers of mallopt's parameters, from ``malloc.h``."""
_KEPT = 2**29
"""Maximum bytes of free memory that the heap keeps at its end; decoding a picture of 672x864 takes half of it."""
_SEPARATE = 2**28
"""Bytes from which on a tensor gets pages of its own, which return to the system once it is freed."""


def keep_freed_memory() -> None:
    """Let the process reuse the memory of freed tensors for new ones.

    By default, large tensors get new pages from the system each time. On a CPU, this took a third of the time for
    decoding a picture. Call it before the first thread starts, since threads get heaps that are too small for large
    tensors, unless all share one. Does nothing if the user chose the heap's parameters by an environment variable.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if (glibc := _glibc()) is None or chosen:
        return
    for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _SEPARATE), (_M_TRIM_THRESHOLD, _KEPT)):
        glibc.mallopt(parameter, value)


def return_freed_memory() -> None:
    """Return the memory that the heap keeps to the system, such as after a model was unloaded."""
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library; None if it isn't glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
