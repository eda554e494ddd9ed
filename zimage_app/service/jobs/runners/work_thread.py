"""A thread that carries out one piece of work after another, and begins with the first of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class WorkThread:
    """Safe from any thread. What is raised in a piece of work ends the thread; the next piece begins another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: SimpleQueue[Work | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def order(self, work: Work) -> None:
        """Have it carried out after all that was ordered before."""
        with self._starting:
            self._orders.put(work)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def close(self, seconds: float) -> None:
        """End after what is ordered, and wait so long for that."""
        self._orders.put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        while (work := self._orders.get()) is not None:
            work()
