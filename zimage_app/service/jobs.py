"""The queue on disk: jobs are accepted durably, claimed once, and run in fair turns. Knows no threads and no models.

Any number of programs may have the same queue open. Which of them runs its jobs is not decided here (``worker.py``).
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zimage_app.domain.text import Text
from zimage_app.service.database import Database, Migration
from zimage_app.service.limits import Limits, check_places

RowState = Literal["waiting", "running", "done", "failed", "cancelled"]
OpenState = Literal["waiting", "running"]

QUEUE_NAME = "queue.sqlite"
_KEPT = 2000
"""Jobs that are over and still answered for, without their settings."""
_MEASURED = 9
"""Newest pictures of a model whose times make the estimate."""
_UNKNOWN_SECONDS = 30.0
"""What a job takes where none has been measured: only for when to come back."""

_MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            model TEXT NOT NULL,
            request TEXT NOT NULL,
            cost REAL NOT NULL,
            created REAL NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
            turn INTEGER,
            attempts INTEGER NOT NULL DEFAULT 0,
            stop INTEGER NOT NULL DEFAULT 0,
            seconds REAL,
            picture TEXT,
            error_en TEXT,
            error_zh TEXT
        )""",
        "CREATE INDEX open_jobs ON jobs (number) WHERE state IN ('waiting', 'running')",
        "CREATE INDEX turns ON jobs (owner, turn)",
    ),
)


_RATES = (
    "SELECT seconds / cost FROM jobs WHERE model = ? AND state = 'done' AND seconds > 0 AND cost > 0"
    " ORDER BY number DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A request in the queue."""

    id: str
    owner: str
    """``owner_mark`` of who asked."""
    model: str
    request: str
    """JSON of the settled request; empty once the job is over."""
    cost: float
    """Of all stages, see ``StagePlan.cost``."""
    state: RowState = "waiting"
    attempts: int = 0
    """How often it was begun."""
    stop: bool = False
    """Somebody wants it to stop."""
    picture: str | None = None
    """Id of the picture that it became, or is about to become."""
    error: Text | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A job that is not over, in its place."""

    id: str
    state: OpenState
    model: str
    cost: float
    stop: bool
    """Somebody wants it to stop."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    state: Literal["done", "failed", "cancelled"]
    picture: str | None = None
    error: Text | None = None
    seconds: float | None = None


class JobQueue:
    """The jobs of one folder of pictures. Its methods may be called from any thread, and raise StorageError where the
    file can't be used; then nothing has changed."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / QUEUE_NAME, _MIGRATIONS)

    @property
    def warning(self) -> Text | None:
        """What is wrong with the file, while something is."""
        return self._database.warning

    @property
    def in_memory(self) -> bool:
        """Whether there is no file, so that no other program sees these jobs."""
        return self._database.in_memory

    def add(self, job: Job, limits: Limits) -> None:
        """Accept a job; when this returns it is on the disk.

        Raises:
            BusyError: as many wait as may.
            StorageError: it could not be written.
        """
        with self._database.transaction() as connection:
            query = "SELECT count(*), coalesce(sum(owner = ?), 0) FROM jobs WHERE state = 'waiting'"
            waiting, own = connection.execute(query, (job.owner,)).fetchone()
            rate = _median(connection.execute(_RATES, (job.model, _MEASURED)))
            check_places(own, waiting, limits, _UNKNOWN_SECONDS if rate is None else max(1.0, rate * job.cost))
            _insert(connection, job)

    def restore(self, jobs: Iterable[Job]) -> None:
        """Put jobs in again that a lost file held; those that are there stay as they are."""
        with self._database.transaction() as connection:
            for job in jobs:
                _insert(connection, job)

    def claim(self) -> Job | None:
        """Take the job whose turn it is; nobody else gets it. None where none waits."""
        with self._database.transaction() as connection:
            order = _in_turn(connection)
            if not order:
                return None
            (newest,) = connection.execute("SELECT coalesce(max(turn), 0) FROM jobs").fetchone()
            query = "UPDATE jobs SET state = 'running', turn = ?, attempts = attempts + 1 WHERE number = ?"
            connection.execute(query, (newest + 1, order[0]))
            return _job(connection.execute("SELECT * FROM jobs WHERE number = ?", (order[0],)).fetchone())

    def saving(self, job_id: str, picture: str) -> None:
        """A job's picture is about to be saved under that id: if the program dies now, look for it there."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET picture = ? WHERE id = ?", (picture, job_id))

    def finish(self, job_id: str, outcome: Outcome) -> None:
        """A job is over. Its settings are forgotten; in a finished picture they are kept."""
        error = outcome.error or Text("", "")
        values = (outcome.state, outcome.picture, error.en, error.zh, outcome.seconds, job_id)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, picture = ?, error_en = ?, error_zh = ?, seconds = ?, request = ''"
                " WHERE id = ? AND state IN ('waiting', 'running')",
                values,
            )
            connection.execute(
                "DELETE FROM jobs WHERE state NOT IN ('waiting', 'running')"
                " AND number <= (SELECT max(number) FROM jobs) - ?",
                (_KEPT,),
            )

    def put_back(self, job_id: str) -> None:
        """A running job waits again, at its old place, as if it had not been begun: the program is stopping."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'waiting', attempts = attempts - 1 WHERE id = ? AND state = 'running'",
                (job_id,),
            )

    def run_again(self, job_id: str) -> None:
        """A job whose program died waits again, at its old place."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET state = 'waiting' WHERE id = ? AND state = 'running'", (job_id,))

    def stop(self, job_id: str) -> RowState | None:
        """Cancel a job that waits, ask for the end of one that runs. Gives its state then, None where there is none."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', request = '' WHERE id = ? AND state = 'waiting'", (job_id,)
            )
            connection.execute("UPDATE jobs SET stop = 1 WHERE id = ? AND state = 'running'", (job_id,))
            row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return None if row is None else row["state"]

    def clear(self) -> int:
        """Cancel all that wait; gives how many those were."""
        with self._database.transaction() as connection:
            query = "UPDATE jobs SET state = 'cancelled', request = '' WHERE state = 'waiting'"
            return connection.execute(query).rowcount

    def turns(self) -> list[Turn]:
        """All jobs that are not over, in the order in which they run."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT number, id, state, model, cost, stop FROM jobs WHERE state IN ('waiting', 'running')"
            ).fetchall()
            order = {number: place for place, number in enumerate(_in_turn(connection))}
        rows.sort(key=lambda row: (row["state"] == "waiting", order.get(row["number"], 0)))
        return [Turn(row["id"], row["state"], row["model"], row["cost"], bool(row["stop"])) for row in rows]

    def running(self) -> list[Job]:
        """The jobs that somebody runs, or ran when the program died."""
        return [_job(row) for row in self._database.rows("SELECT * FROM jobs WHERE state = 'running' ORDER BY number")]

    def find(self, job_id: str) -> Job | None:
        """A job by its id; None where that isn't known, or not any more."""
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def rate(self, model: str) -> float | None:
        """Seconds for one unit of cost, by the model's newest pictures; None where there are none."""
        return _median(self._database.rows(_RATES, (model, _MEASURED)))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def fair_order(waiting: Sequence[tuple[int, str]], last_turns: Mapping[str, int]) -> list[int]:
    """Numbers of (number, owner) in the order in which they run: owners in turns, each one's jobs as they came.

    Who was served longest ago (``last_turns``), or never, comes first.
    """
    queues: dict[str, list[int]] = defaultdict(list)
    for number, owner in sorted(waiting):
        queues[owner].append(number)
    owners = sorted(queues, key=lambda owner: (last_turns.get(owner, 0), queues[owner][0]))
    longest = max((len(numbers) for numbers in queues.values()), default=0)
    return [queues[owner][turn] for turn in range(longest) for owner in owners if turn < len(queues[owner])]


def _in_turn(connection: sqlite3.Connection) -> list[int]:
    waiting = [tuple(row) for row in connection.execute("SELECT number, owner FROM jobs WHERE state = 'waiting'")]
    query = "SELECT max(turn) FROM jobs WHERE owner = ?"
    turns = {owner: connection.execute(query, (owner,)).fetchone()[0] or 0 for owner in {owner for _, owner in waiting}}
    return fair_order(waiting, turns)


def _insert(connection: sqlite3.Connection, job: Job) -> None:
    columns = {
        "id": job.id,
        "owner": job.owner,
        "model": job.model,
        "request": job.request,
        "cost": job.cost,
        "created": time.time(),
        "state": job.state,
        "attempts": job.attempts,
    }
    places = ", ".join("?" * len(columns))
    query = f"INSERT OR IGNORE INTO jobs ({', '.join(columns)}) VALUES ({places})"
    connection.execute(query, tuple(columns.values()))


def _job(row: Any) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        model=row["model"],
        request=row["request"],
        cost=row["cost"],
        state=row["state"],
        attempts=row["attempts"],
        stop=bool(row["stop"]),
        picture=row["picture"],
        error=Text(row["error_en"], row["error_zh"]) if row["error_en"] else None,
        seconds=row["seconds"],
    )


def _median(rates: Iterable[Sequence[Any]]) -> float | None:
    found = [row[0] for row in rates]
    return statistics.median(found) if found else None
