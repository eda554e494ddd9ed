"""Logs where the event loop is blocked, because then no page or program gets an answer."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

log = logging.getLogger(__name__)

STALL_SECONDS = 2.0
_LOOK_SECONDS = 0.5


class Watchdog:
    """Checks from its own thread whether the event loop runs; logs the loop's stack once per stall."""

    def __init__(self, stall: float = STALL_SECONDS, look: float = _LOOK_SECONDS) -> None:
        self._stall = stall
        self._look = look
        self._ended = threading.Event()
        self._turned = time.monotonic()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start watching; call in the loop's thread."""
        self._turn(loop)
        threading.Thread(
            target=self._run, args=(loop, threading.get_ident()), name="loop watchdog", daemon=True
        ).start()

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turned = time.monotonic()
        if not self._ended.is_set():
            loop.call_later(self._look, self._turn, loop)

    def _run(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        told = 0.0
        while not self._ended.wait(self._look) and not loop.is_closed():
            turned = self._turned
            frame = sys._current_frames().get(thread)
            if time.monotonic() - turned < self._stall or turned == told or frame is None:
                continue
            told = turned
            stack = "".join(traceback.format_stack(frame))
            log.warning("the event loop has not turned for %.1f s:\n%s", time.monotonic() - turned, stack)
