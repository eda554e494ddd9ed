"""Logging is the process's: what a test does to it is undone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_logging() -> Iterator[None]:
    """Leave logging as it was found."""
    root, app = logging.getLogger(), logging.getLogger("zimage_app")
    handlers, levels, hook = list(root.handlers), (root.level, app.level), threading.excepthook
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        app.setLevel(levels[1])
        logging.captureWarnings(False)
        threading.excepthook = hook
