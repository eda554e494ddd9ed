"""A stalled event loop is told of, with what it is stuck in."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from tests.loops import run_async
from zimage_app.web.watchdog import Watchdog


def test_a_stall_is_told_once_with_the_stack(caplog: pytest.LogCaptureFixture) -> None:
    def stuck() -> None:
        end = time.monotonic() + 20
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)

    async def run() -> None:
        watchdog = Watchdog(stall=0.1, look=0.02)
        watchdog.watch(asyncio.get_running_loop())
        await asyncio.sleep(0.3)
        assert [record for record in caplog.records if "stuck" in record.getMessage()] == []
        caplog.clear()
        stuck()
        watchdog.end()

    with caplog.at_level(logging.WARNING, "zimage_app.web.watchdog"):
        run_async(run())
    (told,) = caplog.records
    assert "the event loop has not turned for" in told.getMessage()
    assert "in stuck" in told.getMessage()
