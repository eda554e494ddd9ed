"""A thread that runs queued functions one after another, and starts with the first one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class WorkThread:
    """Runs queued functions. Thread-safe. An exception ends the thread; the next queued function starts a new one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Work) -> None:
        """Queue a function."""
        with self._starting:
            self._queue.put(work)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def close(self, seconds: float) -> None:
        """End the thread after the queued functions; wait up to ``seconds`` for that."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
