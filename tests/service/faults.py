"""Fault and load scenarios with a size parameter: small for every test run, large for ``tests/long``.

Codes such as L1 and C2 identify the scenarios.
"""

from __future__ import annotations

import errno
import io
import os
import random
import signal
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

from tests.ports import free_port
from tests.service.quick import MODEL, PATIENCE, QuickStudio, drawn, finish, quick_request
from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Picture
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.jobs.store import JobStore
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

ROOT = Path(__file__).parents[2]


def pixels(data: bytes) -> Picture:
    """Decode a PNG completely, and return its pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def expect_done(view: JobView | None, seed: int, prompt: str) -> None:
    """Assert that a job is done, and its picture is the requested one."""
    assert view is not None
    assert view.state == "done", view.error
    assert view.picture is not None
    request = view.picture.record.request
    assert (request.seed, request.prompt) == (seed, prompt)
    np.testing.assert_array_equal(pixels(view.picture.read()), drawn(seed, prompt))


# L1, L2: load.


def clients(outputs: Path, count: int, each: int) -> None:
    """Let ``count`` clients submit ``each`` pictures at once, and check that all get the right pictures."""
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
    """Let an owner submit ``count`` pictures; check that another owner's is next, and that little memory is used."""
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
    """Return the resident memory of this process in bytes."""
    used: int = psutil.Process().memory_info().rss
    return used


# C1: a killed program.


def kills(outputs: Path, count: int) -> None:
    """Kill a running app ``count`` times; check that no accepted job is lost, and no file is incomplete."""
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
    """Start a program and kill it; return the ids of the jobs that it accepted, with their seeds."""
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
    """Counts file operations below a folder and database calls, and makes the ``target``-th fail."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._lock = threading.Lock()
        self.target = 0
        self.count = 0
        self.struck = ""

    def aim(self, target: int) -> None:
        """Reset the counter and set the target; with 0 no call fails."""
        with self._lock:
            self.target, self.count, self.struck = target, 0, ""

    def pass_by(self, name: str) -> bool:
        """Count a call; return whether it has to fail."""
        with self._lock:
            self.count += 1
            if self.count != self.target:
                return False
            self.struck = name
            return True

    def concerns(self, place: object) -> bool:
        """Return whether a call on this path or file descriptor counts."""
        return isinstance(place, int) or str(place).startswith(self._folder)


FILE_ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
DATABASE_ERRORS = (
    (sqlite3.SQLITE_FULL, "database or disk is full"),
    (sqlite3.SQLITE_IOERR, "disk I/O error"),
    (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
)


@contextmanager
def sabotaged(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Saboteur]:
    """Patch file and database calls, so that the saboteur can make them fail."""
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
    """Make every ``step``-th call from ``first`` on fail once, each in a separate job; return how many failed.

    Check that each job is refused with a message in both languages or gets the right picture, and the next job works.
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
    """Submit a job, submit and cancel another one, and wait; return the first job's view, or the error raised."""
    try:
        job = studio.submit(quick_request(seed), MODEL)
        studio.cancel(studio.submit(quick_request(20_000 + seed), MODEL))
        return finish(studio, job), None
    except StudioError as error:
        return None, error


# C13: the system ends the program with SIGTERM. C6: clients disconnect.

_STEP = 0.05
"""Seconds of a sampling step of ``served``."""
_STEPS = 40
STAGES = tuple(Stage(width=64, height=64, steps=_STEPS) for _ in range(3))
Served = tuple[subprocess.Popen[bytes], httpx.Client]
BODY = {"prompt": "船", "seed": 1, "stages": [stage.model_dump(mode="json") for stage in STAGES]}


@contextmanager
def served(outputs: Path, loading: float = 0.0, port: int | None = None) -> Iterator[Served]:
    """Run ``app.py`` with a quick generator in a separate process; yield the process and a client of its REST API."""
    port = port or free_port()
    flags = ["--port", str(port), "--outputs", str(outputs), "--offline"]
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.service.served", str(_STEP), str(loading), *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # The server may close a kept-alive connection just when the next request is sent.
        limits = httpx.Limits(max_keepalive_connections=0)
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False, limits=limits) as client:
            until_answered(client)
            yield program, client
    finally:
        program.kill()
        program.wait()


def until_answered(client: httpx.Client) -> None:
    """Wait until the app responds."""
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
    """Send SIGTERM while a job is ``loading`` or in stage ``1``, ``2`` or ``3``; check exit code and saved queue."""
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
        assert [(job.id, job.attempts) for job in store.queued()] == [(job, 0) for job in jobs]
        assert store.active() == []


def clients_gone(client: httpx.Client, count: int) -> None:
    """Let ``count`` clients disconnect from their job's event stream; check that every job is still done."""
    small = {"prompt": "船", "stages": [STAGES[0].model_copy(update={"steps": 3}).model_dump(mode="json")]}
    jobs = []
    for number in range(count):
        jobs.append(client.post("/api/generate", json=small).json()["task_id"])
        with client.stream("GET", f"/api/generate/{jobs[-1]}/events") as answer:
            for _, line in zip(range(1 + number % 5), answer.iter_lines(), strict=False):
                assert line is not None

    def ended() -> bool:
        status = client.get("/api/system/status").json()
        return (status["running"], status["waiting"]) == (0, 0)

    _until(ended)
    assert {client.get(f"/api/generate/{job}").json()["state"] for job in jobs} == {"done"}


# S1: no leaks.


def soak(outputs: Path, count: int) -> None:
    """Run ``count`` jobs, and check that memory, threads and open files don't grow."""
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
