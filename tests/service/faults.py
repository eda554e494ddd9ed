"""Faults and load, with a number each: small ones for every test run, big ones for ``tests/long``."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.service.quick import MODEL, PATIENCE, QuickStudio, drawn, finish, quick_request
from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Picture
from zimage_app.domain.request import Stage
from zimage_app.service.jobs.store import JobStore
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

ROOT = Path(__file__).parents[2]


def pixels(data: bytes) -> Picture:
    """A PNG's pixels, all of them read."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def expect_done(view: JobView | None, seed: int, prompt: str) -> None:
    """A job is done, and its picture is the one that was asked for."""
    assert view is not None
    assert view.state == "done", view.error
    assert view.picture is not None
    request = view.picture.record.request
    assert (request.seed, request.prompt) == (seed, prompt)
    np.testing.assert_array_equal(pixels(view.picture.read()), drawn(seed, prompt))


# L1, L2: load.


def clients(outputs: Path, count: int, each: int) -> None:
    """``count`` clients ask for ``each`` pictures at once; every one gets theirs."""
    with closing(QuickStudio(outputs)) as studio:

        def client(number: int) -> None:
            asked = {}
            for turn in range(each):
                seed = number * 1000 + turn
                asked[studio.submit(quick_request(seed, f"client {number}"), MODEL, owner=str(number))] = seed
            for job_id, seed in asked.items():
                expect_done(finish(studio, job_id), seed, f"client {number} {seed}")

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(client, range(count)))
        saved = list(outputs.glob("*/*.png"))
        assert len({read_record(path).request.seed for path in saved}) == len(saved) == count * each


def flood(outputs: Path, count: int) -> None:
    """One owner asks for ``count`` pictures; another one's is made next, and little memory is taken."""
    with closing(QuickStudio(outputs)) as studio:
        finish(studio, studio.submit(quick_request(0), MODEL, owner="warm"))
        before, go_on = memory(), threading.Event()
        studio.generator.failure = lambda _: go_on.wait(PATIENCE)
        jobs = [studio.submit(quick_request(number), MODEL, owner="flood") for number in range(1, count + 1)]
        other = studio.submit(quick_request(0, "other"), MODEL, owner="other")
        view = studio.wait(other, -1, 0.0)
        assert view.ahead <= 1
        assert memory() - before < 20 * 2**20
        go_on.set()
        theirs, mine = finish(studio, jobs[1]).picture, finish(studio, other).picture
        assert mine is not None
        assert theirs is not None
        assert mine.record.created < theirs.record.created
        expect_done(studio.view(other), 0, "other 0")
        for job in jobs:
            studio.cancel(job)
        assert studio.queue().waiting == 0


def memory() -> int:
    """Bytes that this process has in memory."""
    used: int = psutil.Process().memory_info().rss
    return used


# C1: a killed program.


def kills(outputs: Path, count: int) -> None:
    """Kill an app ``count`` times in the middle; nothing that was accepted is lost, and no file is torn."""
    chance = random.Random(count)
    accepted: dict[str, int] = {}
    for turn in range(count):
        accepted |= _killed(outputs, 1000 * (turn + 1), chance)
    assert len(accepted) >= count
    subprocess.run(_program(outputs, "finish", 0), cwd=ROOT, check=True, timeout=10 * PATIENCE)
    by_seed: dict[object, int] = {}
    for path in outputs.glob("*/*.png"):
        record = read_record(path)
        by_seed[record.request.seed] = by_seed.get(record.request.seed, 0) + 1
        np.testing.assert_array_equal(pixels(path.read_bytes()), drawn(record.request.seed, record.request.prompt))  # type: ignore[arg-type]
    with closing(QuickStudio(outputs)) as studio:
        studio.start()
        for job_id, seed in accepted.items():
            view = studio.view(job_id)
            if view is not None and view.state == "failed":
                assert view.error is not None
                assert view.error.text.en.startswith("Interrupted"), view.error
                continue
            expect_done(view, seed, f"船 {seed}")
            assert by_seed[seed] == 1, "made once"
        studio.history.refresh()
        assert studio.history.page(None).total == sum(by_seed.values())
        assert studio.warnings() == ()


def _killed(outputs: Path, first_seed: int, chance: random.Random) -> dict[str, int]:
    """The jobs that a program accepted before it was killed, with their seeds."""
    child = subprocess.Popen(
        _program(outputs, "submit", first_seed), cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(chance.randrange(1, 12))]
    timer = threading.Timer(chance.uniform(0.0, 0.06), child.kill)
    timer.start()
    lines += child.stdout.readlines()
    child.wait(PATIENCE)
    timer.join()
    child.stdout.close()
    return {job_id: int(seed) for job_id, seed in (line.split() for line in lines if line.endswith("\n"))}


def _program(outputs: Path, mode: str, first_seed: int) -> list[str]:
    return [sys.executable, "-m", "tests.service.quick", str(outputs), mode, str(first_seed)]


# C2: the k-th file or database call fails.


class Saboteur:
    """Counts calls to files below a folder and to databases, and lets the ``target``-th fail."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._lock = threading.Lock()
        self.target = 0
        self.count = 0
        self.struck = ""

    def aim(self, target: int) -> None:
        """Begin to count anew; 0 lets everything pass."""
        with self._lock:
            self.target, self.count, self.struck = target, 0, ""

    def pass_by(self, name: str) -> bool:
        """Another call; says whether it is to fail."""
        with self._lock:
            self.count += 1
            if self.count != self.target:
                return False
            self.struck = name
            return True

    def concerns(self, place: object) -> bool:
        """Whether a call is one of those that count."""
        return isinstance(place, int) or str(place).startswith(self._folder)


FILE_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
DATABASE_ERRORS = (
    (sqlite3.SQLITE_FULL, "database or disk is full"),
    (sqlite3.SQLITE_IOERR, "disk I/O error"),
    (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
)


@contextmanager
def sabotaged(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Saboteur]:
    """While the context lasts, calls to files and databases may be made to fail."""
    saboteur = Saboteur(folder)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, /, *given: Any) -> sqlite3.Cursor:
            if saboteur.pass_by(sql):
                code, words = DATABASE_ERRORS[saboteur.target % 3]
                error = sqlite3.OperationalError(words)
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, *given)

    def failing(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *given: Any, **named: Any) -> Any:
            if saboteur.concerns(place) and saboteur.pass_by(name):
                code = FILE_ERRORS[saboteur.target % 3]
                raise OSError(code, os.strerror(code), str(place))
            return work(place, *given, **named)

        return call

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **n: connect(*a, **n, factory=Connection))
        for name in ("open", "replace", "mkdir"):
            patch.setattr(Path, name, failing(name, getattr(Path, name)))
        patch.setattr(os, "fsync", failing("fsync", os.fsync))
        yield saboteur


def failing_calls(outputs: Path, monkeypatch: pytest.MonkeyPatch, first: int, step: int) -> int:
    """Every ``step``-th call from ``first`` on fails once, each in a job of its own; gives how many did.

    The job is refused or ends, with a sentence in both languages or the right picture; the next one works.
    """
    struck = 0
    with sabotaged(monkeypatch, outputs) as saboteur, closing(QuickStudio(outputs)) as studio:
        finish(studio, studio.submit(quick_request(1), MODEL))
        quiet, target = 0, first
        while quiet < 3:
            saboteur.aim(target)
            view, refusal = _asked(studio, target)
            name = saboteur.struck
            saboteur.aim(0)
            if refusal is None:
                expect_done(view, target, f"船 {target}")
            else:
                assert all((refusal.text.en, refusal.text.zh))
            quiet = 0 if name else quiet + 1
            struck += bool(name)
            after = finish(studio, studio.submit(quick_request(10_000 + target), MODEL))
            assert after.state == "done", f"after {name} failed: {after.error}"
            target += step
    return struck


def _asked(studio: Studio, seed: int) -> tuple[JobView | None, StudioError | None]:
    """A job's end while another one is asked for and taken back, or why something of this was refused."""
    try:
        job = studio.submit(quick_request(seed), MODEL)
        studio.cancel(studio.submit(quick_request(20_000 + seed), MODEL))
        return finish(studio, job), None
    except StudioError as error:
        return None, error


# C13: the system asks the program to end. C6: clients go away.

_STEP = 0.05
"""Seconds of a step of ``served``."""
_STEPS = 40
STAGES = tuple(Stage(width=64, height=64, steps=_STEPS) for _ in range(3))
Served = tuple[subprocess.Popen[bytes], httpx.Client]
BODY = {"prompt": "船", "seed": 1, "stages": [stage.model_dump(mode="json") for stage in STAGES]}


@contextmanager
def served(outputs: Path, loading: float = 0.0, port: int | None = None) -> Iterator[Served]:
    """``app.py`` with quick pictures, in a process of its own; gives it and a client of its REST interface."""
    port = port or free_port()
    flags = ["--port", str(port), "--outputs", str(outputs), "--offline"]
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.service.served", str(_STEP), str(loading), *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # A connection that is kept for the next call may be closed by the server just then.
        limits = httpx.Limits(max_keepalive_connections=0)
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False, limits=limits) as client:
            until_answered(client)
            yield program, client
    finally:
        program.kill()
        program.wait()


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_answered(client: httpx.Client) -> None:
    """Wait until the app is up."""
    _until(lambda: _answers(client))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def sigterm(program: subprocess.Popen[bytes], client: httpx.Client, outputs: Path, when: str) -> None:
    """End the program while a job is ``loading`` or in stage ``1``, ``2`` or ``3``: it goes, and the queue stays."""
    jobs = [client.post("/api/generate", json=BODY).json()["task_id"] for _ in range(3)]

    def there() -> bool:
        task = client.get(f"/api/generate/{jobs[0]}").json()
        stage = str(1 + task["current_step"] // _STEPS) if task["state"] == "running" else ""
        return when in (task["state"], stage)

    _until(there)
    program.send_signal(signal.SIGTERM)
    assert program.wait(PATIENCE) == 0
    with closing(JobStore(StudioConfig(outputs=outputs).state)) as store:
        store.refresh()
        assert [(job.id, job.attempts) for job in store.in_turn()] == [(job, 0) for job in jobs]
        assert store.at_work() == []


def clients_gone(client: httpx.Client, count: int) -> None:
    """``count`` clients listen to their job's events and go away in the middle: every job is done all the same."""
    small = {"prompt": "船", "stages": [STAGES[0].model_copy(update={"steps": 3}).model_dump(mode="json")]}
    jobs = []
    for number in range(count):
        jobs.append(client.post("/api/generate", json=small).json()["task_id"])
        with client.stream("GET", f"/api/generate/{jobs[-1]}/events") as answer:
            for _, line in zip(range(1 + number % 5), answer.iter_lines(), strict=False):
                assert line is not None

    def over() -> bool:
        status = client.get("/api/system/status").json()
        return (status["running"], status["waiting"]) == (0, 0)

    _until(over)
    assert {client.get(f"/api/generate/{job}").json()["state"] for job in jobs} == {"done"}


# S1: nothing grows.


def soak(outputs: Path, count: int) -> None:
    """``count`` jobs leave memory, threads and open files as they were."""
    with closing(QuickStudio(outputs)) as studio:

        def work(numbers: range) -> None:
            for number in numbers:
                job = studio.submit(quick_request(number), MODEL, owner=str(number % 5))
                if number % 7 == 0:
                    studio.cancel(job)
                finish(studio, job)

        work(range(40))  # until caches are full
        process = psutil.Process()
        before = process.memory_info().rss, process.num_threads(), process.num_fds()
        work(range(40, 40 + count))
        after = process.memory_info().rss, process.num_threads(), process.num_fds()
        assert after[0] - before[0] < 25 * 2**20
        assert after[1:] == before[1:]
