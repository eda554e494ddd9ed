"""Downloads the configured model before the app starts, and reports the progress."""

from __future__ import annotations

import time
from collections.abc import Callable

from zimage_app.domain.text import Text
from zimage_app.service.library.models import ModelLibrary
from zimage_app.service.setup.config import StudioConfig

_PACE = 5.0
"""Seconds between two lines of progress."""


def fetch_first(config: StudioConfig, tell: Callable[[Text], None]) -> None:
    """Download ``config.model`` where it is named but not on this machine; ``tell`` gets the progress.

    Raises:
        ModelError: there is no such model.
        FetchError: the download failed (no network, offline mode, full disk); says what to do.
    """
    if config.model is None:
        return
    library = ModelLibrary(config)
    try:
        if library.view(config.model).state != "fetch":
            return
        view = library.start(config.model)
        told = -_PACE
        while not view.ended:
            if view.progress is not None and time.monotonic() - told >= _PACE:
                told = time.monotonic()
                tell(view.progress.text)
            view = library.wait(view.version, _PACE) or view
    finally:
        library.close()
    if view.error is not None:
        raise view.error
    tell(Text(f"{config.model} is here and checked.", f"{config.model} 已下载并校验完成。"))
