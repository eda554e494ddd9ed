"""What Gradio keeps of visits is bounded: sessions, calls, results that nobody fetches."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from tests.ports import free_port
from tests.ui.doubles import QuickPageStudio
from tests.web.attacks import visit
from zimage_app.serve import open_page
from zimage_app.ui.server import sessions
from zimage_app.ui.server.sessions import (
    MAX_SESSIONS,
    MAX_UNREAD_SESSIONS,
    OWNER_EVENTS,
    SESSION_EVENTS,
    EventsMiddleware,
    Sessions,
)
from zimage_app.web.middleware import MiddlewareConfig

OWNER = {"x-studio-owner": "0123456789abcdef" * 2}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A page whose jobs take long; Gradio's object and the address."""
    with opened_page(tmp_path_factory.mktemp("sessions")) as both:
        yield both


@contextmanager
def opened_page(folder: Path) -> Iterator[tuple[Any, str]]:
    studio = QuickPageStudio(folder, step_seconds=60)
    port = free_port()
    page = open_page(studio, "auto", MiddlewareConfig(), server_name="127.0.0.1", server_port=port)
    try:
        yield page, f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)


def join(client: httpx.Client, session: str | None, **headers: str) -> int:
    body = {"data": ["x", 1, "", "", True]} | ({"session_hash": session} if session else {})
    return client.post("/gradio_api/call/generate", json=body, headers=headers).status_code


def test_a_session_holds_no_components(opened: tuple[Any, str]) -> None:
    page, address = opened
    with httpx.Client(base_url=address, timeout=60) as client:
        visit(client)
    (session,) = list(page.app.state_holder.session_data.values())[-1:]
    assert not session.config_values
    built = page.default_config.blocks
    changed = [key for key, block in session.blocks_config.blocks.items() if built.get(key) is not block]
    assert len(changed) <= 1


def test_an_idle_queue_is_looked_at_a_hundred_times_a_second_at_most(
    opened: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio itself looks a thousand times a second."""
    page, _ = opened
    waits: list[float] = []
    enough = threading.Event()
    waiting = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 5:
            enough.set()
        await waiting(seconds)

    monkeypatch.setattr("gradio.queueing.asyncio.sleep", noted)
    assert not page._queue.stopped
    assert enough.wait(20)
    assert min(waits) >= 0.01


class Timer:
    """A timer of ``Loop``."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Timer]] = []

    def call_later(self, seconds: float, act: Callable[[], None]) -> Timer:
        timer = Timer(act)
        self.timers.append((seconds, timer))
        return timer

    def pass_time(self) -> None:
        """Let every timer fire that was not cancelled."""
        timers, self.timers = self.timers, []
        for _, timer in timers:
            if not timer.cancelled:
                timer.act()


def test_the_queue_is_looked_at_rarely_while_no_request_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, queue = Loop(), SimpleNamespace(sleep_when_free=sessions.POLL_SECONDS)
    monkeypatch.setattr(sessions, "get_running_loop", lambda: loop)
    seen: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        seen.append(queue.sleep_when_free)
        if scope["path"].startswith("/gradio_api/heartbeat"):  # a stream that stays open while the page is idle
            loop.pass_time()
            seen.append(queue.sleep_when_free)

    middleware = EventsMiddleware(app, cast("Any", SimpleNamespace(_queue=queue)))

    def request(path: str) -> None:
        """Carry out a request, which waits for nothing; the browser's loop may run in this thread."""
        scope = {"type": "http", "path": path, "method": "GET"}
        with pytest.raises(StopIteration):
            middleware(scope, cast("Any", None), cast("Any", None)).send(None)

    request("/")
    request("/monitor.json")
    assert [(seconds, timer.cancelled) for seconds, timer in loop.timers] == [(30.0, True), (30.0, False)]
    request("/gradio_api/heartbeat/x")
    assert seen == [sessions.POLL_SECONDS] * 3 + [0.5]
    request("/monitor.json")
    assert queue.sleep_when_free == sessions.POLL_SECONDS
    loop.pass_time()
    assert queue.sleep_when_free == 0.5


def test_visits_leave_nothing_behind(tmp_path: Path) -> None:
    """Objects are counted, not bytes, which the allocator keeps as it likes.

    A page that is kept would be thousands of them; logs and caches that fill up to their bounds are a few.
    """
    with opened_page(tmp_path) as (page, address), httpx.Client(base_url=address, timeout=60) as client:

        def objects_after(visits: int) -> int:
            for _ in range(visits):
                visit(client)
            gc.collect()
            return len(gc.get_objects())

        begun = objects_after(15)
        assert objects_after(45) - begun < 45 * 50
        assert len(page.app.state_holder.session_data) <= MAX_SESSIONS
        assert len(page._queue.event_ids_to_events) <= 2


def test_sessions_are_bounded(opened: tuple[Any, str]) -> None:
    page, _ = opened
    assert isinstance(page.app.state_holder, Sessions)
    holder = Sessions()
    holder.set_blocks(page)
    assert holder.capacity == MAX_SESSIONS
    try:
        for number in range(MAX_SESSIONS + 20):
            holder[f"open{number}"]
        assert len(holder.session_data) == MAX_SESSIONS
    finally:
        page.app.state_holder.set_blocks(page)


def test_one_owner_and_one_session_have_so_many_calls_open(opened: tuple[Any, str]) -> None:
    _, address = opened
    with httpx.Client(base_url=address, timeout=60) as client:
        assert [join(client, "one") for _ in range(SESSION_EVENTS)] == [200] * SESSION_EVENTS
        assert join(client, "one") == 429
        assert [join(client, f"of-owner{at}", **OWNER) for at in range(OWNER_EVENTS)] == [200] * OWNER_EVENTS
        assert join(client, "of-owner", **OWNER) == 429
        assert join(client, None) == 200, "others go on"


def test_no_more_calls_than_so_many(opened: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, address = opened
    monkeypatch.setattr(sessions, "ALL_EVENTS", 1)
    with httpx.Client(base_url=address, timeout=60) as client:
        answers = [client.post("/gradio_api/call/status", json={"data": [""]}) for _ in range(2)]
        assert answers[-1].status_code == 503
        assert answers[-1].headers["retry-after"] == "5"


def test_results_that_nobody_fetches_are_dropped(tmp_path: Path) -> None:
    with opened_page(tmp_path) as (page, address), httpx.Client(base_url=address, timeout=60) as client:
        queue = page._queue
        for number in range(MAX_UNREAD_SESSIONS + 30):
            body = {"data": [""], "session_hash": f"unread{number}"}
            assert client.post("/gradio_api/call/status", json=body).status_code == 200
        assert len(queue.pending_event_ids_session) <= MAX_UNREAD_SESSIONS + 1
        assert len(queue.pending_messages_per_session) <= MAX_UNREAD_SESSIONS + 1
        assert "unread0" not in queue.pending_event_ids_session
        event = client.post("/gradio_api/call/status", json={"data": [""]}).json()["event_id"]
        result = client.get(f"/gradio_api/call/status/{event}").text
        assert "event: complete" in result
