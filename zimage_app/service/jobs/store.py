"""The job queue in a SQLite file: one row per job; each event changes its rows in one transaction.

Only the dispatcher writes. The rows of unfinished jobs are also kept in memory, as last written, so that reading them
needs no disk access, and so that they can be restored if the file is lost or replaced.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import ACTIVE, FINAL, TRANSITIONS, JobEvent, JobState
from zimage_app.service.rules.limits import Limits, check_queue_room
from zimage_app.service.storage.database import Database, Migration

STORE_NAME = "jobs.sqlite"
_NOT_OPEN = Text(f"{STORE_NAME} can't be opened yet.", f"暂时无法打开 {STORE_NAME}。")
MAX_ENDED = 2000
"""Ended jobs are kept, without their settings, until there are this many newer jobs."""
_MEASURED = 9
"""Number of a model's newest pictures whose times are used for the estimate."""
_UNKNOWN_SECONDS = 30.0
"""Assumed seconds of a job without measurements; only used to say when to retry."""

_FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL))
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
_OPEN = f"SELECT * FROM jobs WHERE state NOT IN ({_FINAL}) ORDER BY number"
_RATES = (
    "SELECT seconds / cost FROM jobs WHERE model = ? AND device = ? AND state = 'done' AND seconds > 0 AND cost > 0"
    " ORDER BY number DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the store: a request and its state."""

    id: str
    owner: str
    """``owner_mark`` of the owner."""
    model: str
    request: str
    """JSON of the planned request; empty once the job has ended."""
    cost: float
    """Cost of all stages, see ``StagePlan.cost``; of a done job, without stages from stage memory."""
    group: str = ""
    """Name shared by jobs that were submitted together; empty for a single job."""
    device: str = ""
    """Device requested for this job, such as ``cpu``; empty for the app's own device."""
    created: float = field(default_factory=time.time)
    """Seconds since 1970."""
    state: JobState = JobState.WAITING
    number: int = 0
    """Number in order of submission, from 1."""
    sort_key: float = 0.0
    """Sort key among the owner's waiting jobs; equals ``number`` unless the job was moved."""
    start_number: int = 0
    """Number in order of start, from 1; 0 if not started."""
    attempts: int = 0
    """Number of starts; not counting one after which the job was requeued without a crash."""
    seconds: float | None = None
    """Time that the picture took."""
    picture: str | None = None
    """Id of the finished picture, which may not be saved yet."""
    error: Text | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINAL


class JobStore:
    """The jobs of one folder of pictures.

    Methods raise StorageError if the file can't be used, and then change nothing. Any thread may read; only a single
    thread may call methods that change something.
    """

    def __init__(self, folder: Path, before_open: Callable[[], None] = lambda: None) -> None:
        """Open the file, or keep the jobs in memory until it can be opened; see ``Database`` for ``before_open``."""
        self._database = Database(folder / STORE_NAME, _MIGRATIONS, before_open)
        self._generation = -1
        self._jobs: dict[str, Job] = {}
        self._last_starts: dict[str, int] = {}
        self._number = 0
        self._start_number = 0
        self._paused = False

    @property
    def warning(self) -> Text | None:
        """The current problem of the file, or None."""
        return self._database.warning

    @property
    def paused(self) -> bool:
        """Whether no waiting job may start."""
        return self._paused

    def refresh(self) -> None:
        """Check whether the file was replaced since the last write; if so, merge its rows and those in memory."""
        self._database.rows("SELECT name FROM switches")
        if self._database.generation != self._generation:
            with self._writing():
                pass

    def add(self, jobs: Sequence[Job], limits: Limits) -> None:
        """Write new jobs of one owner, all of them or none; they get numbers and sort keys.

        Raises:
            BusyError: the queue is full.
            StorageError: the jobs can't be written.
        """
        added = []
        with self._writing() as connection:
            waiting = [each for each in self._jobs.values() if each.state is JobState.WAITING]
            own = sum(each.owner == jobs[0].owner for each in waiting)
            rate = _median(connection.execute(_RATES, (jobs[0].model, jobs[0].device, _MEASURED)))
            seconds = _UNKNOWN_SECONDS if rate is None else max(1.0, rate * jobs[0].cost)
            check_queue_room(own, len(waiting), limits, seconds, new=len(jobs))
            for number, job in enumerate(jobs, self._number + 1):
                added.append(replace(job, number=number, sort_key=float(number)))
                _write(connection, added[-1])
        for job in added:
            self._remember(job)

    def apply(self, job_ids: Iterable[str], event: JobEvent, **details: Any) -> list[Job]:
        """Apply an event to jobs in one transaction; ``details`` are other fields that change with it.

        Returns the changed jobs. Jobs that are unknown, have ended, or have no such transition are skipped.
        """
        self.refresh()  # jobs of another file get other numbers
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
            if any(job.ended for job in changed):
                _trim(connection)
            last_starts = {job.owner: _last_start(connection, job.owner) for job in changed}
        for job in changed:
            self._remember(job)
        self._last_starts |= last_starts
        return changed

    def move(self, job_id: str, *, first: bool) -> bool:
        """Move a waiting job before its owner's previous waiting job, or before all of the owner's jobs (``first``).

        Returns whether it moved.
        """
        self.refresh()
        job = self._jobs.get(job_id)
        if job is None or job.state is not JobState.WAITING:
            return False
        before = [other for other in self._waiting_of(job.owner) if other.sort_key < job.sort_key]
        if not before:
            return False
        other = before[0] if first else before[-1]
        changed = (
            [replace(job, sort_key=other.sort_key - 1)]
            if first
            else [
                replace(job, sort_key=other.sort_key),
                replace(other, sort_key=job.sort_key),
            ]
        )
        with self._writing() as connection:
            for each in changed:
                _write(connection, each)
        for each in changed:
            self._remember(each)
        return True

    def pause(self, paused: bool) -> None:
        """Pause or resume starting waiting jobs."""
        with self._writing() as connection:
            _write_paused(connection, paused)
        self._paused = paused

    def find_open(self, job_id: str) -> Job | None:
        """Return an unfinished job from memory; None if there is none with this id."""
        return self._jobs.get(job_id)

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id; None if it isn't known, or no longer.

        Raises StorageError for a job that may be in the file, as long as that can't be opened.
        """
        if (job := self._jobs.get(job_id)) is not None:
            return job
        if not job_id.isascii():  # not one of our ids, and SQLite can't store lone surrogates
            return None
        incomplete = self._database.in_memory and os.path.exists(self._database.path)
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if not rows and incomplete:
            raise StorageError(self._database.warning or _NOT_OPEN)
        return _job(rows[0]) if rows else None

    def active(self) -> list[Job]:
        """Return the jobs that runners have or had when the app crashed, and those being saved, in order of start."""
        return sorted((job for job in self._jobs.values() if job.state in ACTIVE), key=lambda job: job.start_number)

    def queued(self) -> list[Job]:
        """Return the waiting jobs in the order in which they run."""
        return round_robin([job for job in self._jobs.values() if job.state is JobState.WAITING], self._last_starts)

    def rate(self, model: str, device: str = "") -> float | None:
        """Return the median seconds per unit of cost of the model's newest pictures on ``device``; None without any."""
        return _median(self._database.rows(_RATES, (model, device, _MEASURED)))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _waiting_of(self, owner: str) -> list[Job]:
        waiting = [job for job in self._jobs.values() if job.state is JobState.WAITING and job.owner == owner]
        return sorted(waiting, key=lambda job: job.sort_key)

    def _remember(self, job: Job) -> None:
        """Update the rows in memory after one was written."""
        self._number, self._start_number = max(self._number, job.number), max(self._start_number, job.start_number)
        if job.ended:
            self._jobs.pop(job.id, None)
        else:
            self._jobs[job.id] = job

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction; if the file was opened or replaced since the last one, merge its rows first."""
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
        """Merge the rows in memory and those of a newly opened file; return all unfinished jobs."""
        found = {row["id"]: _job(row) for row in connection.execute(_OPEN)}
        query = "SELECT coalesce(max(number), 0), coalesce(max(turn), 0) FROM jobs"
        number, start_number = connection.execute(query).fetchone()
        for job in self._jobs.values():
            known = connection.execute("SELECT number FROM jobs WHERE id = ?", (job.id,)).fetchone()
            # Numbers assigned while another file or none was open may already be used in this one.
            found[job.id] = job if known else replace(job, number=job.number + number, sort_key=job.sort_key + number)
            _write(connection, found[job.id])
        self._number = max(self._number, number, *(job.number for job in found.values()))
        self._start_number = max(self._start_number, start_number)
        for owner, last in connection.execute("SELECT owner, max(turn) FROM jobs GROUP BY owner"):
            self._last_starts[owner] = max(self._last_starts.get(owner, 0), last)
        self._paused = self._paused or _read_paused(connection)
        _write_paused(connection, self._paused)
        return list(found.values())

    def _consequences(self, job: Job, event: JobEvent, state: JobState) -> dict[str, Any]:
        """Return the other fields that an event changes."""
        if event is JobEvent.CLAIM:
            return {"start_number": self._start_number + 1, "attempts": job.attempts + 1}
        if state is JobState.WAITING:
            # A requeued job becomes its owner's first, and its start isn't counted.
            first = min((other.sort_key for other in self._waiting_of(job.owner)), default=job.sort_key + 1)
            return {"start_number": 0, "picture": None, "sort_key": min(job.sort_key, first - 1)}
        return {"request": ""} if state in FINAL else {}


def round_robin(waiting: Sequence[Job], last_starts: Mapping[str, int]) -> list[Job]:
    """Return waiting jobs in the order in which they run: round-robin over owners, each owner's jobs by ``sort_key``.

    Owners whose last job started longest ago (``last_starts``), or who had none, come first.
    """
    queues: dict[str, list[Job]] = defaultdict(list)
    for job in sorted(waiting, key=lambda job: (job.sort_key, job.number)):
        queues[job.owner].append(job)
    owners = sorted(queues, key=lambda owner: (last_starts.get(owner, 0), min(job.number for job in queues[owner])))
    longest = max(map(len, queues.values()), default=0)
    return [queues[owner][place] for place in range(longest) for owner in owners if place < len(queues[owner])]


_COLUMN_NAMES = {"sort_key": "place", "start_number": "turn"}
"""Field -> its column, where the names differ."""
_FIELDS = tuple(each.name for each in fields(Job) if each.name not in ("group", "error"))
_COLUMNS = (
    *(_COLUMN_NAMES.get(name, name) for name in _FIELDS),
    "batch",  # "group" is an SQL keyword
    "error_en",
    "error_zh",
)
_WRITE = (
    f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)


def _write(connection: sqlite3.Connection, job: Job) -> None:
    """Insert a row, or replace the row with the same id."""
    values = [getattr(job, name) for name in _FIELDS]
    error = job.error or Text("", "")
    connection.execute(_WRITE, (*values, job.group, error.en, error.zh))


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[_COLUMN_NAMES.get(name, name)] for name in _FIELDS}
    error = Text(row["error_en"], row["error_zh"]) if row["error_en"] else None
    return Job(**values | {"state": JobState(row["state"])}, group=row["batch"], error=error)


def _last_start(connection: sqlite3.Connection, owner: str) -> int:
    (start_number,) = connection.execute("SELECT coalesce(max(turn), 0) FROM jobs WHERE owner = ?", (owner,)).fetchone()
    return int(start_number)


def _trim(connection: sqlite3.Connection) -> None:
    """Delete ended jobs that have ``MAX_ENDED`` newer ones."""
    query = f"DELETE FROM jobs WHERE state IN ({_FINAL}) AND number <= (SELECT max(number) FROM jobs) - ?"
    connection.execute(query, (MAX_ENDED,))


def _read_paused(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT value FROM switches WHERE name = 'paused'").fetchone()
    return bool(row and row[0])


def _write_paused(connection: sqlite3.Connection, paused: bool) -> None:
    connection.execute("INSERT OR REPLACE INTO switches (name, value) VALUES ('paused', ?)", (int(paused),))


def _median(rates: Iterable[Sequence[Any]]) -> float | None:
    found = [row[0] for row in rates]
    return statistics.median(found) if found else None
