"""One file from a hub to the disk: resumed where it stopped, checked against its published checksum.

A file grows beside its place, under a name with its checksum in it, so that what an earlier attempt has left is used
for these very bytes only, from whichever hub they come. It gets its own name when it is whole and right.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from zimage_app.domain.errors import FetchError, system_reason
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.models.hub import errors
from zimage_app.models.hub.listing import Checksum, RepoFile
from zimage_app.models.hub.retry_policy import Busy, RetryPolicy

_BLOCK = 1024 * 1024
_PARTIAL = 206


class Stopped(Exception):
    """Whoever wanted the file does not want it any more."""


class _Short(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class Task:
    """A file to fetch."""

    file: RepoFile
    url: str
    repo: str
    page: str
    """The repository's, for people."""
    host: str
    headers: Mapping[str, str]
    target: Path
    part: Path
    """Where it grows."""


@dataclass(frozen=True)
class Transfer:
    """How files are fetched; safe to use from several threads."""

    client: httpx.Client
    patience: RetryPolicy
    moved: Callable[[int], None]
    """Told of bytes that came, and, with a minus, of those that were thrown away."""
    stopped: threading.Event
    _open: set[socket.socket] = field(default_factory=set)

    def hang_up(self) -> None:
        """Wake every thread that waits for bytes: after ``stopped`` was set, nobody wants them."""
        for connection in tuple(self._open):
            with suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def fetch(self, task: Task) -> None:
        """The file, whole and checked, at its target.

        Raises:
            FetchError: it cannot be had; what came so far is kept unless it is wrong.
            Stopped: ``stopped`` was set.
        """
        task.part.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # wrong bytes are fetched once more
            if self._whole(task):
                task.target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(task.part, task.target)
                return
            self.moved(-task.part.stat().st_size)
            task.part.unlink()
        raise errors.wrong_bytes(task.file.path, task.host)

    def _whole(self, task: Task) -> bool:
        """Fetch what is missing, again and again while that leads on; gives whether the bytes are right."""
        failures, size = 0, -1
        while True:
            try:
                return self._attempt(task)
            except (httpx.TransportError, _Short, Busy) as error:
                now = size_of(task.part)
                failures, size = (1 if now > size >= 0 else failures + 1), now
                if failures >= self.patience.attempts:
                    if isinstance(error, Busy):
                        raise errors.busy(task.host, error.status) from error
                    raise errors.broken_off(task.file.path, task.host) from error
                pause = self.patience.after(failures, error.after if isinstance(error, Busy) else None)
                if self.stopped.wait(pause):
                    raise Stopped from error
            except OSError as error:
                raise _of_disk(task.part, error) from error

    def _attempt(self, task: Task) -> bool:
        """Fetch what is missing, once; gives whether all of it is right."""
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
                connection = answer.extensions["network_stream"].get_extra_info("socket")
                self._open.add(connection)
                try:
                    self._receive(answer, task, hasher, have)
                finally:
                    self._open.discard(connection)
        task.part.touch()
        return task.file.checksum is None or hasher.hexdigest() == task.file.checksum.value

    def _kept(self, task: Task) -> int:
        """How many bytes an earlier attempt has left; too many cannot be right and are thrown away."""
        have = size_of(task.part)
        if have > task.file.size:
            task.part.unlink()
            return 0
        return have

    def _receive(self, answer: httpx.Response, task: Task, hasher: Any, have: int) -> None:
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
    """Whether an answer begins where the file here ends; a host that knows no ranges sends all of it."""
    return answer.status_code == _PARTIAL and answer.headers.get("content-range", "").startswith(f"bytes {have}-")


def _check(answer: httpx.Response, task: Task) -> None:
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
    raise errors.odd_answer(task.host)


def _hasher(file: RepoFile) -> Any:
    """One that takes any bytes, where there is nothing to compare with."""
    return (file.checksum or Checksum("sha256", "")).hasher(file.size)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _of_disk(path: Path, error: OSError) -> FetchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.disk_full(path.parent, None, shutil.disk_usage(path.parent).free)
    return errors.not_writable(path, system_reason(error))


def feed(hasher: Any, path: Path, stopped: threading.Event) -> None:
    """Feed a file's bytes to a hash; raises Stopped when that is set meanwhile."""
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            if stopped.is_set():
                raise Stopped
            hasher.update(block)
