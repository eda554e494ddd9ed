"""A SQLite file that is checked and migrated when opened, and can be used from any thread.

The app must run without its databases, so opening never fails: a broken file is set aside and a new one is created,
and where no file can be used (read-only folder, full disk, a newer version's file), the rows are kept in memory until
one can.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Text

log = logging.getLogger(__name__)

Migration = tuple[str, ...]
"""The SQL statements that migrate a database from one version to the next."""

_BUSY_MILLISECONDS = 5000
_RETRY_SECONDS = 30.0
"""Seconds between attempts of an in-memory database to open its file."""

_REASONS = {
    sqlite3.SQLITE_FULL: Text("the disk is full", "磁盘已满"),
    sqlite3.SQLITE_READONLY: Text("it may not be written to", "没有写入权限"),
    sqlite3.SQLITE_PERM: Text("access is denied", "没有访问权限"),
    sqlite3.SQLITE_CANTOPEN: Text("it can't be opened", "无法打开"),
    sqlite3.SQLITE_BUSY: Text("another program holds it", "被其他程序占用"),
    sqlite3.SQLITE_LOCKED: Text("another program holds it", "被其他程序占用"),
    sqlite3.SQLITE_IOERR: Text("the disk reports an error", "磁盘读写出错"),
    sqlite3.SQLITE_NOMEM: Text("there is too little memory", "内存不足"),
    sqlite3.SQLITE_CORRUPT: Text("it is damaged", "文件已损坏"),
    sqlite3.SQLITE_NOTADB: Text("it is damaged", "文件已损坏"),
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SYSTEM_ERRORS = frozenset(_REASONS) - frozenset(_DAMAGED)
"""Error codes that the system causes, not the file."""


class _Broken(Exception):
    """The file is not a database, or not one of this app."""


class _Newer(Exception):
    """The file was written by a newer version of this app."""

    def __init__(self, version: int) -> None:
        super().__init__(str(version))
        self.version = version


class Database:
    """One database. Thread-safe: its methods take turns.

    Args:
        path: the file; its folder is created.
        migrations: the statements for each version, starting from an empty file; only ever appended to.
        before_open: called before the file is opened; raises OSError to prevent it, as when another process has it.
    """

    def __init__(
        self, path: Path, migrations: Sequence[Migration], before_open: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._before_open = before_open
        self.warning: Text | None = None
        """Why the file was set aside, or why there is none; None without problems."""
        self.generation = 0
        """Grows whenever another database replaces the previous one; callers then have to write their rows again."""
        self._migrations = tuple(migrations)
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._tried = 0.0
        self._suspect = False
        self._connection = self._open()

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory only and are lost when the app ends."""
        return self._identity is None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """An exclusive write transaction; committed to disk at the end of the context, rolled back if it raises.

        Transactions of the same database must not be nested.

        Raises:
            StorageError: the database could not be read or written; nothing of the transaction is kept.
        """
        with self._lock, self._as_storage_errors():
            connection = self._current()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._undo(connection)
                raise

    def _undo(self, connection: sqlite3.Connection) -> None:
        """Roll back a failed transaction; where that fails too, mark the connection for reopening."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._suspect = True

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query.

        Raises:
            StorageError: the database could not be read.
        """
        with self._lock, self._as_storage_errors():
            return self._current().execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the connection; committed transactions are in the file."""
        with self._lock:
            self._connection.close()

    # Opening; call these with the lock held.

    def _current(self) -> sqlite3.Connection:
        """The connection, reopened where the file may have changed."""
        if self.in_memory:
            self._leave_memory()
        elif self._suspect or self._gone():
            self._connection.close()
            self._connection = self._open()
        return self._connection

    def _leave_memory(self) -> None:
        """Open the file, if that is possible by now; the rows in memory are dropped."""
        if time.monotonic() - self._tried < _RETRY_SECONDS:
            return
        self._tried = time.monotonic()
        with contextlib.suppress(OSError, sqlite3.Error, _Broken, _Newer):
            connection = self._file()
            self._connection.close()
            self._connection = connection
            self._identity = _identity(self.path)
            self.generation += 1
            self.warning = None

    def _gone(self) -> bool:
        """Whether the file was removed or replaced."""
        return self._identity is not None and _identity(self.path) != self._identity

    def _open(self) -> sqlite3.Connection:
        """A connection to the file, or to a database in memory. Raises nothing."""
        self._suspect = False
        self._tried = time.monotonic()
        self.warning = None
        fresh = not self.path.exists()
        try:
            try:
                connection = self._file()
            except _Broken as reason:
                log.warning("%s is damaged: %s", self.path, reason)
                self._set_aside()
                fresh = True
                connection = self._file()
        except _Newer as newer:
            self.warning = _newer(self.path, newer.version, len(self._migrations))
        except (OSError, sqlite3.Error, _Broken) as error:
            self.warning = _no_file(self.path, error)
        else:
            identity = _identity(self.path)
            self.generation += fresh or self._identity not in (None, identity)
            self._identity = identity
            return connection
        log.warning("%s", self.warning)
        self._identity = None
        self.generation += 1
        return self._memory()

    def _memory(self) -> sqlite3.Connection:
        connection = _connect(":memory:")
        self._migrate(connection)
        return connection

    def _file(self) -> sqlite3.Connection:
        """A connection to the file, checked and migrated.

        Raises:
            OSError, sqlite3.Error: the file can't be opened, or ``before_open`` refuses.
            _Broken, _Newer: its content can't be used.
        """
        self._before_open()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(str(self.path))
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _check(connection)
            self._migrate(connection)
            self._check_schema(connection)
        except sqlite3.Error as error:
            connection.close()
            if _code(error) in _SYSTEM_ERRORS:
                raise
            raise _Broken(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Migrate a database to the current version, in one transaction."""
        connection.execute("BEGIN IMMEDIATE")  # also fails if the file is read-only
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(self._migrations):
                raise _Newer(version)
            for migration in self._migrations[version:]:
                for statement in migration:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        """Compare the tables' definitions; SQLite's own check misses a flipped bit in them."""
        fresh = self._memory()
        try:
            if _schema(connection) != _schema(fresh):
                raise _Broken("its tables are not as this version makes them")
        finally:
            fresh.close()

    def _set_aside(self) -> None:
        """Rename the broken file, its journal first, so that the journal is never applied to a new file."""
        aside = self.path.with_name(f"{self.path.name}.broken-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
        for suffix in ("-shm", "-wal", ""):
            old = self.path.with_name(self.path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                old.replace(aside.with_name(aside.name + suffix))
        self.warning = Text(
            f"{self.path.name} was damaged; it is kept as {aside.name}, and a fresh one was begun.",
            f"{self.path.name} 已损坏；原文件已改名保留为 {aside.name}，并已新建一个。",
        )

    @contextmanager
    def _as_storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # A damaged file is checked again, and set aside, before its next use.
            self._suspect = self._suspect or _code(error) in _DAMAGED
            reason = _reason(error)
            raise StorageError(
                Text(
                    f"{self.path.name} could not be used: {reason.en}; free some space or give access, then try again.",
                    f"无法使用 {self.path.name}：{reason.zh}；请清理磁盘空间或检查权限后重试。",
                )
            ) from error


def _connect(place: str) -> sqlite3.Connection:
    # Python's implicit transactions are off; this class begins its own. Its lock makes threads safe.
    connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Run SQLite's full integrity check; the quick one misses some damage."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise _Broken(str(found))


def _schema(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    query = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    return [tuple(row) for row in connection.execute(query)]


def _identity(path: Path) -> tuple[int, int] | None:
    """(device, inode) of the file; None where there is none, or it is empty."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where Python raised the error itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _reason(error: Exception) -> Text:
    if isinstance(error, sqlite3.Error) and _code(error) in _REASONS:
        return _REASONS[_code(error)]
    words = system_reason(error) if isinstance(error, OSError) else str(error)
    return Text(words, words)


def _no_file(path: Path, error: Exception) -> Text:
    reason = _reason(error)
    return Text(
        f"{path} can't be used: {reason.en}; what belongs in it is kept in memory and lost when the app ends."
        " Free some space or give access.",
        f"无法使用 {path}：{reason.zh}；其内容暂存于内存，程序退出后会丢失。请清理磁盘空间或检查权限。",
    )


def _newer(path: Path, version: int, known: int) -> Text:
    return Text(
        f"{path} was written by a newer version of this app (version {version}, this one reads up to {known}) and is"
        " left as it is; update the app. Until then its contents are kept in memory and lost when the app ends.",
        f"{path} 由更新版本的程序写入（版本 {version}，本程序最高 {known}），已原样保留；请更新程序。"
        "在此之前其内容只存于内存，程序退出后会丢失。",
    )
