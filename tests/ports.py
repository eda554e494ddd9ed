"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 30_000)
"""Below the ports that Linux, macOS and Windows give to outgoing connections and to port 0."""


def free_port() -> int:
    """Return a port of this machine that nothing listens at.

    A port that the system chooses for port 0 may be given to another test's connection before the server takes it.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
