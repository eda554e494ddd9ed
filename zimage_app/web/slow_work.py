"""Slow work that requests ask for, in small pools of its own: however much of it waits, other requests are answered.

Who waits here takes no thread, so clients that ask and go away again keep nobody from anything.
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
    """A few places, and a queue before them that has an end."""

    def __init__(self, places: int, most_waiting: float = math.inf) -> None:
        self._limiter = anyio.CapacityLimiter(places)
        self._most_waiting = most_waiting

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives, from a thread.

        Raises:
            BusyError: as many wait as may. And what ``work`` raises.
        """
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            raise BusyError(_FULL, _AGAIN_SECONDS, own=False)
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limiter)


HANDED_IN = Pool(places=2, most_waiting=16)
"""For files that clients send, which are in memory while they wait."""
THUMBNAILS = Pool(places=2)
"""For small pictures that are not made yet."""
HASHES = Pool(places=1)
"""For files of many gigabytes, each of which is hashed once."""
