"""``app.py`` that notes every connection out of this machine: ``python -m tests.web.guarded FILE [app.py's flags]``.

Names that are looked up count too. Nothing is let out.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

_NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def _is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        address = ip_address(str(name))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def guard(file: Path) -> None:
    """From now on for this process: a line in the file, and an error, for each way out."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto"):
            host = arguments[1][0] if isinstance(arguments[1], tuple) else ""  # else a socket of the file system
        elif event in _NAMES:
            host = arguments[0]
        else:
            return
        if not _is_here(host):
            with file.open("a", encoding="utf-8") as notes:
                notes.write(f"{event} {host}\n")
            raise OSError(f"{host} is out of bounds")

    sys.addaudithook(hook)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
    from tests.service.served import ServedStudio
    from zimage_app import serve

    vars(serve)["Studio"] = ServedStudio
    serve.main(sys.argv[2:])
