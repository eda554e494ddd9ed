"""Small thread pools for slow work of requests, so that other requests are still answered.

Waiting work uses no thread, so clients that send a request and disconnect don't block others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from zimage_app.domain.errors import BusyError
from zimage_app.domain.text import Text

P = ParamSpec("P")
T = TypeVar("T")

_FULL = Text(
    "Too many pictures are being read at the moment; try again in some seconds.",
    "当前正在读取的图片过多；请过几秒再试。",
)
_AGAIN_SECONDS = 5.0


class Pool:
    """A few threads with a bounded queue."""

    def __init__(self, places: int, max_waiting: float = math.inf) -> None:
        self._limiter = anyio.CapacityLimiter(places)
        self._most_waiting = max_waiting

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a thread and return its result; its own errors pass through.

        Raises:
            BusyError: the queue is full.
        """
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            raise BusyError(_FULL, _AGAIN_SECONDS, own=False)
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limiter)


UPLOADS = Pool(places=2, max_waiting=16)
"""For uploaded files, which are in memory while they wait."""
THUMBNAILS = Pool(places=2)
"""For thumbnails that have not been made yet."""
HASHES = Pool(places=1)
"""For hashing files of many gigabytes, each once."""
