"""uvicorn with a bound on connections and on the time for a request's headers to arrive.

uvicorn has no time-out for headers and no bound on idle connections, so a thousand half-sent requests use up the
process's file descriptors. Here an idle connection is closed to make room for a new one.
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
"""Time for a request's first line and headers to arrive."""
MAX_CONNECTIONS = 2048
_FILES_OF_OUR_OWN = 256
"""File descriptors reserved for models, pictures and databases."""
_BACKLOG = 64
"""Connections accepted in one go; they must fit into ``_FILES_OF_OUR_OWN``."""
_MAX_NEW = 1024
"""Connections that the system queues before they are accepted, without using file descriptors of the process."""


def max_connections() -> int:
    """The maximum number of open connections: the limit of open files, less a reserve, up to MAX_CONNECTIONS."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, soft - _FILES_OF_OUR_OWN))


def server_config(app: ASGIApp, host: str, port: int, proxies: Iterable[str] = ()) -> uvicorn.Config:
    """uvicorn's configuration; ``X-Forwarded-For`` is trusted from ``proxies`` (addresses or networks) only."""
    trusted = list(proxies)

    class Protocol(BoundedProtocol):
        most = max_connections()
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
    """Let the system queue more new connections than are accepted in one go; call after the server has started.

    Clients retry connections that don't fit into the queue only after a second. asyncio uses one number for both.
    """
    for each in server.servers:
        for socket in each.sockets:
            with socket.dup() as listening:
                listening.listen(_MAX_NEW)


class BoundedProtocol(H11Protocol):
    """A connection that is closed if its request's headers arrive too late, or to make room for a new connection."""

    most: int
    """Maximum of open connections, of all peers together."""
    proxies: tuple[str, ...] = ()
    header_seconds = HEADER_SECONDS

    _arriving: asyncio.TimerHandle | None = None
    """The timer that runs while a request's headers are due."""

    def connection_made(self, transport: Any) -> None:
        """Register the connection, and close an idle one where there are too many."""
        super().connection_made(transport)
        self._expect_headers()
        peer = self._peer
        siblings = [each for each in self.connections if isinstance(each, BoundedProtocol) and each._peer == peer]
        if len(siblings) > self.most // 2 and not is_proxy(peer, self.proxies):
            self._make_room(siblings)
        elif len(self.connections) > self.most:
            self._make_room([each for each in self.connections if isinstance(each, BoundedProtocol)])

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on; the header timer runs from the first byte of a request."""
        self._expect_headers()
        super().data_received(data)
        if self.is_busy:
            self._stop_expecting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._stop_expecting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Cancel the header timer; uvicorn's own timer for idle connections takes over."""
        self._stop_expecting()
        super().on_response_complete()

    @property
    def is_busy(self) -> bool:
        """Whether a received request is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self, connections: list[BoundedProtocol]) -> None:
        """Close the connection that has been idle longest, or this one if all others are busy."""
        idle = [each for each in connections if each is not self and not each.is_busy]
        # The earliest timer belongs to the longest idle connection; one without a timer has just been answered.
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
