"""Receives a ComfyUI server's messages over its WebSocket, and decides when the server counts as unreachable."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeVar

from zimage_app.service.jobs.runners.comfyui.server import ComfyServer, Message, Socket
from zimage_app.service.jobs.runners.remote import Unreachable

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds."""

    check_interval: float = 1.0
    """How often to check the stop token and the server's queue and history, whether messages arrive or not."""
    gone: float = 30.0
    """How long a server may fail to respond before it counts as unreachable."""
    retry_interval: float = 5.0
    """Interval between health checks of an unreachable server."""


class Listener:
    """Messages of a server over a WebSocket, which is reopened when it is lost."""

    def __init__(self, server: ComfyServer, timeouts: Timeouts) -> None:
        self.client = secrets.token_hex(16)
        self._server = server
        self._timeouts = timeouts
        self._socket: Socket | None = None
        self._silent_since: float | None = None
        self._checked = time.monotonic()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def messages(self) -> Iterator[Message | None]:
        """Yield messages; None every ``Timeouts.check_interval`` seconds, and if the socket is lost."""
        while True:
            if self._socket is None:
                time.sleep(self._timeouts.check_interval)
                self._open()
                yield None
                continue
            try:
                message = self._socket.receive()
            except Unreachable:
                self._socket.close()
                self._socket = None
                message = None
            if message is not None:
                yield message
            # At fixed times, not only in silence: extensions that report the machine's load send messages all the time.
            if message is None or time.monotonic() - self._checked > self._timeouts.check_interval:
                self._checked = time.monotonic()
                yield None

    def asked(self, question: Callable[[], Answer]) -> Answer | None:
        """Return the result of a request over HTTP; None if the server doesn't respond at the moment.

        Raises:
            Unreachable: the server has not responded for more than ``Timeouts.gone`` seconds.
        """
        try:
            answer = question()
        except Unreachable:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since > self._timeouts.gone:
                raise
            return None
        self._silent_since = None
        return answer

    def _open(self) -> None:
        with suppress(Unreachable):
            self._socket = self._server.listen(self.client, self._timeouts.check_interval)
