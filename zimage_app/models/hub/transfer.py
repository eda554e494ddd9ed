"""Downloads one file from a hub: resumes a partial download and verifies the published checksum.

A partial file's name contains the checksum, so that it is only resumed for the same content, from any hub. A file is
moved to its final name once it is complete and verified.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from zimage_app.models.disk.regular_file import open_regular
from zimage_app.models.hub import errors
from zimage_app.models.hub.listing import Checksum, RepoFile
from zimage_app.models.hub.retry_policy import Busy, RetryPolicy

_BLOCK = 1024 * 1024
_PARTIAL = 206


class Stopped(Exception):
    """The download was cancelled."""


class _Short(Exception):
    """The connection ended before the file was complete."""


@dataclass(frozen=True)
class FileDownload:
    """A file to download."""

    file: RepoFile
    url: str
    repo: str
    page: str
    """URL of the repository's web page, for messages."""
    host: str
    headers: Mapping[str, str]
    target: Path
    part: Path
    """Path of the partial download."""


@dataclass(frozen=True)
class Transfer:
    """Downloads files. Thread-safe."""

    client: httpx.Client
    retry_policy: RetryPolicy
    moved: Callable[[int], None]
    """Called with the number of bytes received, or a negative number for discarded bytes."""
    stopped: threading.Event
    _open: dict[Path, socket.socket] = field(default_factory=dict)
    """Partial file -> the connection that it comes from. By file, because the next file may use a connection before the
    one before has taken note of its own end."""

    def hang_up(self) -> None:
        """Shut down all open connections to wake the threads that wait for bytes. Call after ``stopped`` is set."""
        for connection in tuple(self._open.values()):
            with suppress(OSError):  # the connection may have ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def fetch(self, task: FileDownload) -> None:
        """Download and verify the file, then move it to its target.

        Raises:
            FetchError: the file can't be downloaded; a partial file is kept unless its content is wrong.
            OSError: the file can't be written.
            Stopped: ``stopped`` was set.
        """
        task.part.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # a file with a wrong checksum is downloaded once more
            if self._whole(task):
                task.target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(task.part, task.target)
                return
            self.moved(-task.part.stat().st_size)
            task.part.unlink()
        raise errors.wrong_bytes(task.file.path, task.host)

    def _whole(self, task: FileDownload) -> bool:
        """Download the rest of the file, retrying while there is progress; return whether the checksum matches."""
        failures, size = 0, -1
        while True:
            try:
                return self._attempt(task)
            except (httpx.TransportError, _Short, Busy) as error:
                now = size_of(task.part)
                failures, size = (1 if now > size >= 0 else failures + 1), now
                if failures >= self.retry_policy.attempts:
                    if isinstance(error, Busy):
                        raise errors.busy(task.host, error.status) from error
                    raise errors.broken_off(task.file.path, task.host) from error
                pause = self.retry_policy.after(failures, error.after if isinstance(error, Busy) else None)
                if self.stopped.wait(pause):
                    raise Stopped from error
            except httpx.RequestError as error:  # endless redirects, or an encoding that wasn't asked for
                raise errors.unexpected_answer(task.host) from error

    def _attempt(self, task: FileDownload) -> bool:
        """Try once to download the rest of the file; return whether the whole file's checksum matches."""
        have = self._kept(task)
        hasher = _hasher(task.file)
        if have:
            feed(hasher, task.part, self.stopped)
        if have < task.file.size:
            headers = {"accept-encoding": "identity", **task.headers}
            if have:
                headers["range"] = f"bytes={have}-"
            with self.client.stream("GET", task.url, headers=headers) as answer:
                _check(answer, task)
                if have and not _goes_on(answer, have):
                    self.moved(-have)
                    task.part.unlink()
                    have, hasher = 0, _hasher(task.file)
                self._open[task.part] = answer.extensions["network_stream"].get_extra_info("socket")
                try:
                    self._receive(answer, task, hasher, have)
                finally:
                    del self._open[task.part]
        task.part.touch()
        return task.file.checksum is None or hasher.hexdigest() == task.file.checksum.value

    def _kept(self, task: FileDownload) -> int:
        """Return the size of the partial file; one that is too large is deleted."""
        have = size_of(task.part)
        if have > task.file.size:
            task.part.unlink()
            return 0
        return have

    def _receive(self, answer: httpx.Response, task: FileDownload, hasher: Any, have: int) -> None:
        with task.part.open("ab") as part:
            for block in answer.iter_bytes():
                if self.stopped.is_set():
                    raise Stopped
                part.write(block)
                hasher.update(block)
                self.moved(len(block))
                have += len(block)
                if have > task.file.size:
                    break
            part.flush()
            os.fsync(part.fileno())
        if have < task.file.size:
            raise _Short


def _goes_on(answer: httpx.Response, have: int) -> bool:
    """Whether the response continues at byte ``have``; a host without range support sends the whole file."""
    return answer.status_code == _PARTIAL and answer.headers.get("content-range", "").startswith(f"bytes {have}-")


def _check(answer: httpx.Response, task: FileDownload) -> None:
    status = answer.status_code
    if status in (200, _PARTIAL):
        return
    if status in Busy.STATUSES:
        raise Busy.of(status, answer.headers)
    if status in (401, 403):
        if answer.headers.get("x-error-code") == "GatedRepo":
            raise errors.gated(task.repo, task.page)
        raise errors.forbidden(task.file.path, task.host, status)
    if status in (404, 410):
        raise errors.not_found(f"{task.file.path} ({task.repo})", task.host)
    raise errors.unexpected_answer(task.host)


def _hasher(file: RepoFile) -> Any:
    """Return a hash object for the file's checksum; without a checksum, one whose result isn't used."""
    return (file.checksum or Checksum("sha256", "")).hasher(file.size)


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it doesn't exist."""
    return path.stat().st_size if path.exists() else 0


def feed(hasher: Any, path: Path, stopped: threading.Event) -> None:
    """Update a hash object with a file's bytes; raises Stopped if ``stopped`` is set meanwhile."""
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            if stopped.is_set():
                raise Stopped
            hasher.update(block)
