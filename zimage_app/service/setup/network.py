"""Chooses a free port for the page by binding ports briefly."""

from __future__ import annotations

import errno
import os
import socket

from zimage_app.domain.errors import StudioError, system_reason
from zimage_app.domain.text import Text

DEFAULT_PORT = 7860
_PORTS_TO_TRY = 100


def address_of(host: str, port: int, here: str = "localhost") -> str:
    """The URL of a server that listens on ``host``; ``here`` is the name used if it listens on all addresses."""
    name = host.strip("[]")
    if name in ("", "0.0.0.0"):
        return f"http://{here}:{port}"
    if name == "::":
        name = "::1"
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def choose_port(host: str, asked: int | None) -> int:
    """The port to open: ``asked``, or the first free one from the default upwards.

    Raises:
        StudioError: the given port is taken, no port is free, or ``host`` is not an address of this machine.
    """
    given = asked if asked is not None else _environment_port()
    ports = [given] if given is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY)
    for port in ports:
        if _is_free(host, port):
            return port
    if given is None:
        text = Text(
            f"No port from {ports[0]} to {ports[-1]} is free; choose another with --port.",
            f"{ports[0]} 到 {ports[-1]} 的端口都被占用，请用 --port 指定其他端口。",
        )
    else:
        text = Text(
            f"Port {given} is taken; close the other program, choose another port with --port,"
            " or leave --port out for the next free one.",
            f"端口 {given} 已被占用；请关闭占用它的程序，用 --port 换一个端口，或不写 --port 以自动选择。",
        )
    raise StudioError(text)


def _environment_port() -> int | None:
    given = os.environ.get("GRADIO_SERVER_PORT", "")
    return int(given) if given.isdigit() else None


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            reason = system_reason(error)
            raise StudioError(
                Text(
                    f"The page can't listen on --host {host}: {reason}; use 127.0.0.1 for this machine only"
                    " or 0.0.0.0 for the whole network.",
                    f"无法监听 --host {host}：{reason}；仅本机使用请填 127.0.0.1，局域网访问请填 0.0.0.0。",
                )
            ) from error
    return True
