"""The HTTP server with bounds: how many connections, how long a request may take to arrive. Knows no routes.

uvicorn has no time-out for headers and no bound on idle connections, so a thousand half-sent requests take every file
that the process may open. Here a connection that asks nothing makes room for a new one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from zimage_app.web.client import is_proxy

HEADER_SECONDS = 10.0
"""Time for the first line and the headers of a request."""
MAX_CONNECTIONS = 2048
_FILES_OF_OUR_OWN = 256
"""Files that the process opens beside connections: models, pictures, databases."""
_BACKLOG = 64
"""Connections that are accepted at once; they have to fit into the files of our own."""
_MAX_NEW = 1024
"""Connections that the system holds until they are accepted, which takes none of our files."""


def most_connections() -> int:
    """How many connections may be open: as many as the system lets the process have files, and some left over."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, soft - _FILES_OF_OUR_OWN))


def server_config(app: ASGIApp, host: str, port: int, proxies: Iterable[str] = ()) -> uvicorn.Config:
    """What uvicorn is started with; ``X-Forwarded-For`` is believed from ``proxies`` only (addresses or networks)."""
    trusted = list(proxies)

    class Protocol(BoundedProtocol):
        most = most_connections()
        proxies = tuple(trusted)

    return uvicorn.Config(
        app=app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        log_level="warning",
        backlog=_BACKLOG,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted,
    )


def hold_new_connections(server: uvicorn.Server) -> None:
    """Let the system hold more new connections than are accepted at once; call when the server has started.

    Those that it has no room for wait a second and more until they are tried again. asyncio takes one number for both.
    """
    for each in server.servers:
        for socket in each.sockets:
            with socket.dup() as listening:
                listening.listen(_MAX_NEW)


class BoundedProtocol(H11Protocol):
    """A connection that is closed when its request doesn't arrive in time, or when another one needs its place."""

    most: int
    """Open connections, of all peers."""
    proxies: tuple[str, ...] = ()
    header_seconds = HEADER_SECONDS

    _arriving: asyncio.TimerHandle | None = None
    """Set while the headers of a request are waited for."""

    def connection_made(self, transport: Any) -> None:
        """Take a place, where there is one or one can be had."""
        super().connection_made(transport)
        self._expect_headers()
        peer = self._peer
        siblings = [each for each in self.connections if isinstance(each, BoundedProtocol) and each._peer == peer]
        if len(siblings) > self.most // 2 and not is_proxy(peer, self.proxies):
            self._make_room(siblings)
        elif len(self.connections) > self.most:
            self._make_room([each for each in self.connections if isinstance(each, BoundedProtocol)])

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on; from the first byte of a request on its headers have to come in time."""
        self._expect_headers()
        super().data_received(data)
        if self.is_busy:
            self._stop_expecting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_expecting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """From here on uvicorn's own timer for idle connections runs."""
        self._stop_expecting()
        super().on_response_complete()

    @property
    def is_busy(self) -> bool:
        """Whether a request has arrived that isn't answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self, connections: list[BoundedProtocol]) -> None:
        """Close the connection that has waited longest without a request; this one where all are busy."""
        idle = [each for each in connections if each is not self and not each.is_busy]
        # The loop's timers stand in the order of time; one without a timer has just been answered.
        oldest = min(idle, key=lambda each: each._arriving.when() if each._arriving else float("inf"), default=self)
        oldest._close()

    def _close(self) -> None:
        self.connections.discard(self)
        self._stop_expecting()
        self.transport.abort()

    def _expect_headers(self) -> None:
        if self._arriving is None and not self.is_busy:
            self._arriving = self.loop.call_later(self.header_seconds, self._close)

    def _stop_expecting(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None
