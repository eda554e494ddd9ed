"""A hub on loopback that speaks as Hugging Face and as ModelScope do, and misbehaves when told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c0ffee00" * 5
_SMALL = 1000
"""Bytes. Bigger files are kept as Hugging Face keeps big ones, with a sha256."""


@dataclass(frozen=True)
class Fault:
    """How one answer goes wrong."""

    status: int | None = None
    """Answer with this and nothing else."""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    """Close the connection after so many bytes."""
    garble: bool = False
    """Send other bytes."""
    no_ranges: bool = False
    """Send the whole file, whatever part was asked for."""
    page: bool = False
    """Answer with a web page, as a log-in page in between does."""
    hold: threading.Event | None = None
    """Send half, and the rest once this is set."""


@dataclass
class FakeHub:
    """What it holds, how it will go wrong, and what it was asked."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    """Published sha256 of a path, where it is not the right one."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Published size of a path, where it is not the right one."""
    names: dict[str, str] = field(default_factory=dict)
    """Published name of a path, where it is not its own."""
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    """By path of a file, or repository for a listing: for the next requests, one each."""
    always: dict[str, Fault] = field(default_factory=dict)
    """The same, for every request."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path of the file, or repository, and headers; in order."""
    cdn: str = ""
    """Address that files are redirected to; empty: none."""
    url: str = ""

    def ranges(self, path: str) -> list[str]:
        """What was asked for of a file, request by request; empty text for all of it."""
        return [headers.get("range", "") for name, headers in self.asked if name == path]


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Open a port for it."""

    class Handler(_Handler):
        fake = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Find out which dialect it is."""
        path = unquote(urlsplit(self.path).path)
        listings: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
            ("/api/v1/models/", "/repo/files", self._scope),
            ("/api/models/", "", self._hugging),
        )
        for start, end, listing in listings:
            if path.startswith(start) and path.endswith(end):
                self._listing(path.removeprefix(start).removesuffix(end), listing)
                return
        repo, _, rest = path.removeprefix("/models/" if path.startswith("/models/") else "/").partition("/resolve/")
        self._file(repo, rest.partition("/")[2])

    def _fault(self, name: str) -> Fault:
        self.fake.asked.append((name, {key.lower(): value for key, value in self.headers.items()}))
        waiting = self.fake.faults.get(name)
        return waiting.pop(0) if waiting else self.fake.always.get(name, Fault())

    def _listing(self, repo: str, listing: Callable[[str], Any]) -> None:
        fault = self._fault(repo)
        if fault.status is not None:
            self._send(fault.status, b"", dict(fault.headers))
        elif fault.page:
            self._send(200, b"<html>please log in</html>", {"content-type": "text/html"})
        elif repo not in self.fake.repos:
            self._send(404, b"{}", {"x-error-code": "RepoNotFound"})
        else:
            self._send(200, json.dumps(listing(repo)).encode(), {"content-type": "application/json"})

    def _hugging(self, repo: str) -> Any:
        siblings = []
        for path, data in self.fake.repos[repo].items():
            sibling: dict[str, Any] = {
                "rfilename": self.fake.names.get(path, path),
                "size": self.fake.sizes.get(path, len(data)),
                "blobId": hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest(),
            }
            if len(data) > _SMALL:
                sibling["lfs"] = {"sha256": self._sum(path, data), "size": len(data), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": repo, "sha": COMMIT, "siblings": siblings}

    def _scope(self, repo: str) -> Any:
        files: list[dict[str, Any]] = [{"Path": "transformer", "Type": "tree", "Size": 0, "Sha256": ""}]
        files += [
            {
                "Path": self.fake.names.get(path, path),
                "Type": "blob",
                "Size": self.fake.sizes.get(path, len(data)),
                "Sha256": self._sum(path, data),
            }
            for path, data in self.fake.repos[repo].items()
        ]
        return {"Code": 200, "Data": {"Files": files}, "Success": True}

    def _sum(self, path: str, data: bytes) -> str:
        return self.fake.sums.get(path, hashlib.sha256(data).hexdigest())

    def _file(self, repo: str, path: str) -> None:
        if self.fake.cdn:
            self.fake.asked.append((path, {key.lower(): value for key, value in self.headers.items()}))
            self._send(302, b"", {"location": f"{self.fake.cdn}/{repo}/resolve/cdn/{path}"})
            return
        fault = self._fault(path)
        if fault.status is not None:
            self._send(fault.status, b"", dict(fault.headers))
            return
        data = self.fake.repos[repo].get(path)
        if data is None:
            self._send(404, b"", {"x-error-code": "EntryNotFound"})
            return
        if fault.garble:
            data = bytes(255 - byte for byte in data)
        self._bytes(data, fault)

    def _bytes(self, data: bytes, fault: Fault) -> None:
        begin = 0
        wanted = self.headers.get("range")
        if wanted and not fault.no_ranges:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        self.send_header("content-length", str(len(data) - begin))
        if begin:
            self.send_header("content-range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if fault.cut is not None:
            self.wfile.write(data[begin : begin + fault.cut])
            self.close_connection = True
            return
        if fault.hold is not None:
            half = begin + (len(data) - begin) // 2
            self.wfile.write(data[begin:half])
            self.wfile.flush()
            fault.hold.wait(60.0)
            begin = half
        try:
            self.wfile.write(data[begin:])
        except OSError:  # whoever asked is gone
            self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def forget_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, mirror, proxy or cache of whoever runs the tests; caches are looked for under ``folder``."""
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HF_ENDPOINT", "ZIMAGE_COMFYUI", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(folder / "modelscope-cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
