"""The server's bounds: half-sent requests hold no place, and nobody is believed about who asks but a named proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from zimage_app.service.setup.settings import Settings
from zimage_app.web.client import client_of, is_this_machine
from zimage_app.web.credentials import Credentials
from zimage_app.web.middleware import middleware_config
from zimage_app.web.server import hold_new_connections, max_connections, server_config


async def _who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(client_of(request.scope))


@contextmanager
def serving(proxies: Iterable[str] = (), more: Sequence[Route] = (), **bounds: Any) -> Iterator[int]:
    """A small app on a server with these bounds; gives the port."""
    config = server_config(Starlette(routes=[Route("/", _who), *more]), "127.0.0.1", 0, proxies)
    for name, value in bounds.items():
        setattr(config.http, name, value)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            thread.join(0.01)
        hold_new_connections(server)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def half_open(port: int, sent: bytes = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") -> socket.socket:
    """A connection whose request doesn't end."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has gone; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_request_has_to_arrive_in_time(sent: bytes) -> None:
    with serving(header_seconds=0.2) as port, half_open(port, sent) as connection:
        assert is_closed(connection)


def test_the_second_request_of_a_connection_has_to_arrive_in_time_too() -> None:
    sent = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"
    with serving(header_seconds=0.2) as port, half_open(port, sent) as connection:
        assert connection.recv(4) == b"HTTP"
        while connection.recv(4096):
            pass


def test_half_sent_requests_make_room_for_whole_ones() -> None:
    with serving(most=8) as port, ExitStack() as stack:
        held = [stack.enter_context(half_open(port)) for _ in range(40)]
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert all(is_closed(connection) for connection in held[:30])
        held[-1].sendall(b"\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.1 200", "the newest wait on"


def test_the_system_holds_new_connections_while_the_app_is_busy() -> None:
    begun, go = threading.Event(), threading.Event()

    async def busy(_: Request) -> PlainTextResponse:
        begun.set()
        return PlainTextResponse(str(go.wait(60)))

    with serving(more=[Route("/busy", busy)], most=600) as port, ExitStack() as stack:
        stack.enter_context(half_open(port, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert begun.wait(60)
        for _ in range(300):
            stack.enter_context(half_open(port))
        go.set()


def test_connections_stay_below_the_files_that_a_process_may_have() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < max_connections() < soft


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.1/32",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.1/32",), "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (("127.0.0.1/32", "10.0.0.0/8"), "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (("127.0.0.1/32",), "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_only_a_named_proxy_says_who_asks(proxies: tuple[str, ...], forwarded: str, client: str) -> None:
    with serving(proxies) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"x-forwarded-for": forwarded}).text == client


def test_the_proxies_that_come_with_a_link_and_a_space_are_known() -> None:
    assert middleware_config(Settings(), Credentials(), {}).proxies == ()
    assert middleware_config(Settings(share=True), Credentials(), {}).proxies == ("127.0.0.1", "::1")
    assert "10.0.0.0/8" in middleware_config(Settings(), Credentials(), {"SPACE_ID": "a/b"}).proxies
    assert middleware_config(Settings(share=True, trusted_proxy=("192.0.2.1",)), Credentials(), {}).proxies == (
        "192.0.2.1/32",
    )


OWN = {"127.0.0.1": True, "::1": True, "::ffff:127.0.0.1": True, "192.0.2.1": False, "": False}


@pytest.mark.parametrize(("address", "own"), OWN.items())
def test_this_machine_is_known_by_its_address(address: str, own: bool) -> None:
    assert is_this_machine({"client": (address, 1)}) is own
