"""What a ComfyUI tells while it works: over its WebSocket, opened again where it is lost, with questions behind it."""

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
class Patience:
    """Seconds."""

    message: float = 1.0
    """For a message, before the token and the history are asked."""
    gone: float = 30.0
    """For a server that does not answer, before it is given up."""
    again: float = 5.0
    """Between two looks whether it is back."""


class Listener:
    """Messages of a server, as long as it answers: over its WebSocket, opened again where it is lost."""

    def __init__(self, server: ComfyServer, patience: Patience) -> None:
        self.client = secrets.token_hex(16)
        self._server = server
        self._patience = patience
        self._socket: Socket | None = None
        self._silent_since: float | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def messages(self) -> Iterator[Message | None]:
        """One after another; None where none came in time. Without a socket, None every so often."""
        while True:
            if self._socket is None:
                time.sleep(self._patience.message)
                self._open()
                yield None
                continue
            try:
                message = self._socket.receive()
            except Unreachable:
                self._socket.close()
                self._socket = None
                message = None
            yield message

    def asked(self, question: Callable[[], Answer]) -> Answer | None:
        """The answer to a question over HTTP; None where the server can't answer at the moment.

        Raises:
            Unreachable: it has not answered for as long as it may.
        """
        try:
            answer = question()
        except Unreachable:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since > self._patience.gone:
                raise
            return None
        self._silent_since = None
        return answer

    def _open(self) -> None:
        with suppress(Unreachable):
            self._socket = self._server.listen(self.client, self._patience.message)
