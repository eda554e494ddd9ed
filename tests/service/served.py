"""Runs ``app.py`` with ``QuickStudio``, for tests that stop a program from outside.

``python -m tests.service.served PAUSE LOADING [app.py's flags]``: the seconds to sleep before every step, and the
seconds that loading a model takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.service.quick import QuickStudio
from zimage_app import serve
from zimage_app.domain.errors import LoadingCancelled
from zimage_app.domain.text import Text
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.jobs.store import Job
from zimage_app.service.setup.config import StudioConfig

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import Generator

PAUSE, LOADING = (float(each) for each in sys.argv[1:3]) if __name__ == "__main__" else (0.0, 0.0)


class ServedStudio(QuickStudio):
    """A ``QuickStudio`` with slow loading and steps."""

    def __init__(self, config: StudioConfig) -> None:
        super().__init__(config.outputs, PAUSE)

    def _model(
        self, slot: ModelSlot, job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]
    ) -> Generator:
        tell(Text("loading", "加载中"))
        end = time.monotonic() + LOADING
        while time.monotonic() < end:
            if cancelled():
                raise LoadingCancelled
            time.sleep(0.01)
        return super()._model(slot, job, tell, cancelled)


if __name__ == "__main__":
    vars(serve)["Studio"] = ServedStudio
    serve.main(sys.argv[3:])
