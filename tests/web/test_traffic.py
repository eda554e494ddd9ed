"""How much one visitor may ask at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from tests.loops import run_async
from zimage_app.web import traffic
from zimage_app.web.traffic import (
    ALL_FILES,
    BURST,
    CLIENT_FILES,
    CLIENT_STREAMS,
    OWNER_STREAMS,
    TrafficMiddleware,
)

RUNNING: set[asyncio.Task[None]] = set()
"""What is asked for; it ends with its loop."""
STRANGER = ("192.0.2.1", 1)
OWNER = "0123456789abcdef" * 2


class Clock:
    """Stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Streams:
    """Answers that don't end until they are let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if "data" in scope["path"] or scope["method"] == "POST":
            await self.let_go.wait()
        await send({"type": "http.response.body"})


def scope(path: str, client: Any = STRANGER, owner: str = "") -> Scope:
    headers = [(b"x-studio-owner", owner.encode())] if owner else []
    return {"type": "http", "method": "GET", "path": path, "headers": headers, "client": client, "query_string": b""}


async def status(app: TrafficMiddleware, asked: Scope) -> int:
    """The status, as soon as it is known."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            found.set_result(message["status"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    RUNNING.add(asyncio.create_task(app(asked, receive, send)))
    return await found


def test_one_address_may_ask_so_often_in_a_second() -> None:
    async def run() -> None:
        clock = Clock()
        app = TrafficMiddleware(Streams(), clock=clock)
        assert {await status(app, scope("/")) for _ in range(int(BURST))} == {200}
        assert await status(app, scope("/")) == 429
        assert await status(app, scope("/", ("192.0.2.2", 1))) == 200
        assert await status(app, scope("/", ("127.0.0.1", 1))) == 200
        clock.now += 1
        assert await status(app, scope("/")) == 200

    run_async(run())


WATCH = "/gradio_api/queue/data"
HERE = ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("method", "path", "client", "owner", "most"),
    [
        ("GET", WATCH, STRANGER, "", CLIENT_STREAMS),
        ("GET", WATCH, HERE, OWNER, OWNER_STREAMS),
        ("POST", "/inputs", STRANGER, "", CLIENT_FILES),
        ("POST", "/api/inputs/", STRANGER, OWNER, CLIENT_FILES),
    ],
)
def test_one_visitor_may_have_so_many_open(
    method: str, path: str, client: tuple[str, int], owner: str, most: int
) -> None:
    async def run() -> None:
        streams = Streams()
        app = TrafficMiddleware(streams)
        asked = {**scope(path, client, owner), "method": method}
        assert {await status(app, asked) for _ in range(most)} == {200}
        assert await status(app, asked) == 429
        assert await status(app, {**scope(path, ("192.0.2.7", 1)), "method": method}) == 200, "others go on"
        assert await status(app, scope("/", client, owner)) == 200, "what isn't a stream is answered"
        streams.let_go.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert await status(app, asked) == 200

    run_async(run())


def test_so_many_files_may_arrive_at_once() -> None:
    async def run() -> None:
        app = TrafficMiddleware(Streams())
        asked = {**scope("/import", HERE), "method": "POST"}
        assert [await status(app, asked) for _ in range(ALL_FILES + 1)] == [200] * ALL_FILES + [429]

    run_async(run())


def test_a_body_has_to_arrive_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BODY_SECONDS", 0.05)

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, send
        while (await receive()).get("more_body"):
            pass

    async def run(pieces: int) -> None:
        left = iter(range(pieces))

        async def receive() -> Message:
            if next(left, None) is None:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Message) -> None:
            del message

        with pytest.raises(HTTPException) as failed:
            await TrafficMiddleware(read)({**scope("/x"), "method": "POST"}, receive, send)
        assert failed.value.status_code == 408

    run_async(run(0))
    run_async(run(3))
