"""Jobs on the disk: one row each, changed by one event in one transaction. Knows no threads and no models.

Only the dispatcher writes. The rows of jobs that are not over are kept in memory too, as they were last written:
reading them takes no disk, and they are put in again where the file was lost or replaced.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import AT_WORK, OVER, TRANSITIONS, JobEvent, JobState
from zimage_app.service.rules.limits import Limits, check_places
from zimage_app.service.storage.database import Database, Migration

STORE_NAME = "jobs.sqlite"
MAX_OVER = 2000
"""Jobs that are over and still answered for, without their settings."""
_MEASURED = 9
"""Newest pictures of a model whose times make the estimate."""
_UNKNOWN_SECONDS = 30.0
"""What a job takes where none has been measured: only for when to come back."""

_OVER = ", ".join(f"'{state}'" for state in sorted(OVER))
_MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE jobs (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            model TEXT NOT NULL,
            request TEXT NOT NULL,
            cost REAL NOT NULL,
            batch TEXT NOT NULL,
            created REAL NOT NULL,
            state TEXT NOT NULL,
            place REAL NOT NULL,
            turn INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            seconds REAL,
            picture TEXT,
            error_en TEXT,
            error_zh TEXT
        )""",
        "CREATE INDEX open_jobs ON jobs (number) WHERE state NOT IN ('cancelled', 'done', 'failed')",
        "CREATE INDEX turns ON jobs (owner, turn)",
        "CREATE TABLE switches (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    ),
    ("ALTER TABLE jobs ADD COLUMN device TEXT NOT NULL DEFAULT ''",),
)
_OPEN = f"SELECT * FROM jobs WHERE state NOT IN ({_OVER}) ORDER BY number"
_RATES = (
    "SELECT seconds / cost FROM jobs WHERE model = ? AND device = ? AND state = 'done' AND seconds > 0 AND cost > 0"
    " ORDER BY number DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A row: a request and how far it is."""

    id: str
    owner: str
    """``owner_mark`` of who asked."""
    model: str
    request: str
    """JSON of the settled request; empty once the job is over."""
    cost: float
    """Of all stages, see ``StagePlan.cost``."""
    group: str = ""
    """Jobs that were asked for together have the same; empty for one that stands alone."""
    device: str = ""
    """Where it is to be made, as in ``cpu``; empty: where the app computes."""
    created: float = field(default_factory=time.time)
    """Seconds since 1970."""
    state: JobState = JobState.WAITING
    number: int = 0
    """Counts the jobs in the order in which they were asked for, from 1."""
    place: float = 0.0
    """Order among its owner's waiting jobs; the number, unless it was moved."""
    turn: int = 0
    """Counts the jobs in the order in which they were begun, from 1; 0 for one that was not."""
    attempts: int = 0
    """How often it was begun and not put back."""
    seconds: float | None = None
    """How long its picture took."""
    picture: str | None = None
    """Id of the picture that it became, or is about to become."""
    error: Text | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in OVER


class JobStore:
    """The jobs of one folder of pictures.

    Methods raise StorageError where the file can't be used; then nothing has changed. Reading is safe from any thread;
    whatever changes something must be called from one thread only.
    """

    def __init__(self, folder: Path, admit: Callable[[], None] = lambda: None) -> None:
        """Open the file, or keep the jobs in memory until it can be had; see ``Database`` for ``admit``."""
        self._database = Database(folder / STORE_NAME, _MIGRATIONS, admit)
        self._generation = -1
        self._jobs: dict[str, Job] = {}
        self._last_turns: dict[str, int] = {}
        self._number = 0
        self._turn = 0
        self._paused = False

    @property
    def warning(self) -> Text | None:
        """What is wrong with the file, while something is."""
        return self._database.warning

    @property
    def paused(self) -> bool:
        """Whether no job may begin."""
        return self._paused

    def refresh(self) -> None:
        """Look whether the file is still the one that was written last, and bring file and memory together if not."""
        self._database.rows("SELECT name FROM switches")
        if self._database.generation != self._generation:
            with self._writing():
                pass

    def add(self, job: Job, limits: Limits) -> Job:
        """Accept a job; when this returns it is on the disk.

        Raises:
            BusyError: as many wait as may.
            StorageError: it could not be written.
        """
        with self._writing() as connection:
            waiting = [each for each in self._jobs.values() if each.state is JobState.WAITING]
            own = sum(each.owner == job.owner for each in waiting)
            rate = _median(connection.execute(_RATES, (job.model, job.device, _MEASURED)))
            check_places(own, len(waiting), limits, _UNKNOWN_SECONDS if rate is None else max(1.0, rate * job.cost))
            number = self._number + 1
            job = replace(job, number=number, place=float(number))
            _write(connection, job)
        self._remember(job)
        return job

    def apply(self, job_ids: Iterable[str], event: JobEvent, **details: Any) -> list[Job]:
        """Let an event happen to jobs, in one transaction; ``details`` are other fields that change with it.

        Gives those that it happened to, as they are then. The others are over, unknown, or have no such transition.
        """
        changed = [
            replace(job, state=state, **(self._consequences(job, event, state) | details))
            for job_id in job_ids
            if (job := self._jobs.get(job_id)) and (state := TRANSITIONS.get((job.state, event)))
        ]
        if not changed:
            return []
        with self._writing() as connection:
            for job in changed:
                _write(connection, job)
            if any(job.over for job in changed):
                _trim(connection)
            last_turns = {job.owner: _last_turn(connection, job.owner) for job in changed}
        for job in changed:
            self._remember(job)
        self._last_turns |= last_turns
        return changed

    def move(self, job_id: str, *, first: bool) -> bool:
        """Let a waiting job run before its owner's one that waits before it, or before all of them (``first``).

        Says whether it moved.
        """
        job = self._jobs.get(job_id)
        if job is None or job.state is not JobState.WAITING:
            return False
        before = [other for other in self._waiting_of(job.owner) if other.place < job.place]
        if not before:
            return False
        other = before[0] if first else before[-1]
        changed = (
            [replace(job, place=other.place - 1)]
            if first
            else [
                replace(job, place=other.place),
                replace(other, place=job.place),
            ]
        )
        with self._writing() as connection:
            for each in changed:
                _write(connection, each)
        for each in changed:
            self._remember(each)
        return True

    def pause(self, paused: bool) -> None:
        """Let no job begin, or go on."""
        with self._writing() as connection:
            _write_paused(connection, paused)
        self._paused = paused

    def find_open(self, job_id: str) -> Job | None:
        """A job that is not over, without a look at the file; None where there is none."""
        return self._jobs.get(job_id)

    def find(self, job_id: str) -> Job | None:
        """A job by its id; None where that isn't known, or not any more."""
        if (job := self._jobs.get(job_id)) is not None:
            return job
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def at_work(self) -> list[Job]:
        """The jobs that somebody runs, or ran when the program died; who began first comes first."""
        return sorted((job for job in self._jobs.values() if job.state in AT_WORK), key=lambda job: job.turn)

    def in_turn(self) -> list[Job]:
        """The waiting jobs in the order in which they run."""
        return fair_order([job for job in self._jobs.values() if job.state is JobState.WAITING], self._last_turns)

    def rate(self, model: str, device: str = "") -> float | None:
        """Seconds for one unit of cost, by the model's newest pictures there; None where there are none."""
        return _median(self._database.rows(_RATES, (model, device, _MEASURED)))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _waiting_of(self, owner: str) -> list[Job]:
        waiting = [job for job in self._jobs.values() if job.state is JobState.WAITING and job.owner == owner]
        return sorted(waiting, key=lambda job: job.place)

    def _remember(self, job: Job) -> None:
        """Keep a row that was written."""
        self._number, self._turn = max(self._number, job.number), max(self._turn, job.turn)
        if job.over:
            self._jobs.pop(job.id, None)
        else:
            self._jobs[job.id] = job

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction on a file that has all rows that are open."""
        merged: list[Job] = []
        with self._database.transaction() as connection:
            generation = self._database.generation
            if generation != self._generation:
                merged = self._merge(connection)
            yield connection
        self._generation = generation
        for job in merged:
            self._remember(job)

    def _merge(self, connection: sqlite3.Connection) -> list[Job]:
        """Bring a file that is new to us and the rows in memory together; gives all open rows."""
        found = {row["id"]: _job(row) for row in connection.execute(_OPEN)}
        query = "SELECT coalesce(max(number), 0), coalesce(max(turn), 0) FROM jobs"
        number, turn = connection.execute(query).fetchone()
        for job in self._jobs.values():
            known = connection.execute("SELECT number FROM jobs WHERE id = ?", (job.id,)).fetchone()
            # Numbers that were given while there was another file, or none, may be taken in this one.
            found[job.id] = job if known else replace(job, number=job.number + number, place=job.place + number)
            _write(connection, found[job.id])
        self._number = max(self._number, number, *(job.number for job in found.values()))
        self._turn = max(self._turn, turn)
        for owner, last in connection.execute("SELECT owner, max(turn) FROM jobs GROUP BY owner"):
            self._last_turns[owner] = max(self._last_turns.get(owner, 0), last)
        self._paused = self._paused or _read_paused(connection)
        _write_paused(connection, self._paused)
        return list(found.values())

    def _consequences(self, job: Job, event: JobEvent, state: JobState) -> dict[str, Any]:
        """The other fields that an event changes."""
        if event is JobEvent.CLAIM:
            return {"turn": self._turn + 1, "attempts": job.attempts + 1}
        if state is JobState.WAITING:
            # First again among its owner's, and without the turn counted.
            first = min((other.place for other in self._waiting_of(job.owner)), default=job.place + 1)
            return {"turn": 0, "picture": None, "place": min(job.place, first - 1)}
        return {"request": ""} if state in OVER else {}


def fair_order(waiting: Sequence[Job], last_turns: Mapping[str, int]) -> list[Job]:
    """Waiting jobs in the order in which they run: owners in turns, each one's jobs by their place.

    Who was served longest ago (``last_turns``), or never, comes first.
    """
    queues: dict[str, list[Job]] = defaultdict(list)
    for job in sorted(waiting, key=lambda job: (job.place, job.number)):
        queues[job.owner].append(job)
    owners = sorted(queues, key=lambda owner: (last_turns.get(owner, 0), min(job.number for job in queues[owner])))
    longest = max(map(len, queues.values()), default=0)
    return [queues[owner][turn] for turn in range(longest) for owner in owners if turn < len(queues[owner])]


_COLUMNS = (
    *(each.name for each in fields(Job) if each.name not in ("group", "error")),
    "batch",  # "group" is a word of SQL
    "error_en",
    "error_zh",
)
_WRITE = (
    f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)


def _write(connection: sqlite3.Connection, job: Job) -> None:
    """Write a row whole, whether it is there or not."""
    values = [getattr(job, name) for name in _COLUMNS[:-3]]
    error = job.error or Text("", "")
    connection.execute(_WRITE, (*values, job.group, error.en, error.zh))


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in _COLUMNS[:-3]}
    error = Text(row["error_en"], row["error_zh"]) if row["error_en"] else None
    return Job(**values | {"state": JobState(row["state"])}, group=row["batch"], error=error)


def _last_turn(connection: sqlite3.Connection, owner: str) -> int:
    (turn,) = connection.execute("SELECT coalesce(max(turn), 0) FROM jobs WHERE owner = ?", (owner,)).fetchone()
    return int(turn)


def _trim(connection: sqlite3.Connection) -> None:
    """Forget jobs that were over long ago."""
    query = f"DELETE FROM jobs WHERE state IN ({_OVER}) AND number <= (SELECT max(number) FROM jobs) - ?"
    connection.execute(query, (MAX_OVER,))


def _read_paused(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT value FROM switches WHERE name = 'paused'").fetchone()
    return bool(row and row[0])


def _write_paused(connection: sqlite3.Connection, paused: bool) -> None:
    connection.execute("INSERT OR REPLACE INTO switches (name, value) VALUES ('paused', ?)", (int(paused),))


def _median(rates: Iterable[Sequence[Any]]) -> float | None:
    found = [row[0] for row in rates]
    return statistics.median(found) if found else None
