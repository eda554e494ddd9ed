"""Slow work has places of its own, and a queue with an end."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from tests.loops import run_async
from zimage_app.domain.errors import BusyError
from zimage_app.web.slow_work import Pool


def test_others_are_answered_however_much_slow_work_waits() -> None:
    pool, go, begun = Pool(places=2), threading.Event(), threading.Semaphore(0)

    def slow() -> bool:
        begun.release()
        return go.wait(30)

    async def crowd() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(pool.run, slow)
            for _ in range(2):
                await anyio.to_thread.run_sync(begun.acquire)
            assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            assert not begun.acquire(blocking=False), "only two are at work"
            go.set()

    run_async(crowd())


def test_more_than_may_wait_are_told_to_come_again() -> None:
    pool, go = Pool(places=1, max_waiting=1), threading.Event()

    async def crowd() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(pool.run, go.wait, 30)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(BusyError, match="Too many pictures") as caught:
                await pool.run(go.wait, 30)
            assert not caught.value.own
            go.set()

    run_async(crowd())
