"""A database opens whatever its file is like, says what was wrong, and never mixes threads or halves up."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from zimage_app.domain.errors import StorageError
from zimage_app.service.storage import database as module
from zimage_app.service.storage.database import Database, Migration

FIRST: Migration = ("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)",)
SECOND: Migration = ("ALTER TABLE words ADD COLUMN weight REAL NOT NULL DEFAULT 1.0",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "words.sqlite"


def put(database: Database, *words: str) -> None:
    with database.transaction() as connection:
        connection.executemany("INSERT INTO words (word) VALUES (?)", [(word,) for word in words])


def words(database: Database) -> list[str]:
    return [row["word"] for row in database.rows("SELECT word FROM words ORDER BY id")]


def _break_off(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO words (word) VALUES ('three')")
        raise KeyError


def test_rows_are_there_again_and_writes_are_synced(path: Path) -> None:
    database = Database(path, [FIRST])
    put(database, "船", "sea")
    assert [tuple(*database.rows(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")] == [("wal",), (2,)]
    database.close()
    again = Database(path, [FIRST])
    assert words(again) == ["船", "sea"]
    assert (again.warning, again.in_memory, again.generation) == (None, False, 0)
    again.close()


def test_migrations_run_once_each_and_in_order(path: Path) -> None:
    first = Database(path, [FIRST])
    put(first, "old")
    first.close()
    second = Database(path, [FIRST, SECOND])
    assert [tuple(row) for row in second.rows("SELECT word, weight FROM words")] == [("old", 1.0)]
    second.close()
    Database(path, [FIRST, SECOND]).close()


def test_a_migration_that_fails_leaves_the_old_state(path: Path) -> None:
    first = Database(path, [FIRST])
    put(first, "one", "two")
    first.close()
    unlike: Migration = ("CREATE TABLE more (id INTEGER)", "CREATE UNIQUE INDEX by_length ON words (length(word))")
    Database(path, [FIRST, unlike]).close()
    (aside,) = path.parent.glob("words.sqlite.broken-*[0-9]")
    connection = sqlite3.connect(aside)
    assert connection.execute("SELECT word FROM words").fetchall() == [("one",), ("two",)]
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []
    connection.close()


def test_a_newer_file_is_left_alone(path: Path) -> None:
    newer = Database(path, [FIRST, SECOND])
    put(newer, "kept")
    newer.close()
    before = path.read_bytes()
    older = Database(path, [FIRST])
    assert older.warning is not None
    assert "newer version" in older.warning.en
    assert "更新版本" in older.warning.zh
    put(older, "in memory")
    assert older.in_memory
    older.close()
    assert path.read_bytes() == before


def test_a_transaction_is_whole_or_not_at_all(path: Path) -> None:
    database = Database(path, [FIRST])
    put(database, "one")
    with pytest.raises(StorageError, match=r"words\.sqlite could not be used"):
        put(database, "two", "one")
    with pytest.raises(KeyError):
        _break_off(database)
    put(database, "four")
    assert words(database) == ["one", "four"]
    database.close()


def test_many_threads_write_at_once(path: Path) -> None:
    database = Database(path, [FIRST])

    def work(number: int) -> None:
        for turn in range(20):
            put(database, f"{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(words(database)) == sorted(f"{n}-{t}" for n in range(8) for t in range(20))
    database.close()


def test_two_programs_share_a_file(path: Path) -> None:
    one, two = Database(path, [FIRST]), Database(path, [FIRST])
    put(one, "from one")
    put(two, "from two")
    assert words(one) == words(two) == ["from one", "from two"]
    one.close()
    two.close()


@pytest.mark.parametrize("contents", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_database_is_set_aside(path: Path, contents: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(contents)
    database = Database(path, [FIRST])
    put(database, "new")
    assert not database.in_memory
    if contents:
        assert database.warning is not None
        assert "damaged" in database.warning.en
        (aside,) = path.parent.glob("words.sqlite.broken-*")
        assert aside.read_bytes() == contents
        assert database.generation == 1
    database.close()


def test_flipped_bits_and_cut_files_never_keep_it_from_opening(path: Path) -> None:
    database = Database(path, [FIRST, SECOND])
    put(database, *(f"word {number}" for number in range(300)))
    database.close()
    whole = path.read_bytes()
    chance = random.Random(7)
    for turn in range(60):
        for old in path.parent.iterdir():
            old.unlink()
        data = bytearray(whole)
        if turn % 3:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        database = Database(path, [FIRST, SECOND])
        put(database, f"after {turn}")
        assert words(database)[-1] == f"after {turn}"
        database.close()


def test_damage_that_shows_later_is_set_aside_before_the_next_use(path: Path) -> None:
    database = Database(path, [FIRST])
    put(database, *(f"word {number} {'x' * 200}" for number in range(500)))
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    other = sqlite3.connect(path)  # makes the first one read the file again
    other.execute("PRAGMA user_version = 1")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match="damaged"):
        words(database)
    assert words(database) == []
    assert database.warning is not None
    assert database.generation == 2
    put(database, "goes on")
    assert words(database) == ["goes on"]
    database.close()


def test_a_file_that_is_taken_away_is_begun_anew(path: Path) -> None:
    database = Database(path, [FIRST])
    put(database, "gone")
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    put(database, "new")
    assert words(database) == ["new"]
    assert database.generation == 2
    assert path.is_file()
    database.close()


def test_without_a_folder_it_lives_in_memory_until_there_is_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.write_text("in the way", encoding="utf-8")
    database = Database(path, [FIRST])
    put(database, "for now")
    assert database.in_memory
    assert database.warning is not None
    assert "memory" in database.warning.en
    assert "内存" in database.warning.zh
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    put(database, "still")
    assert words(database) == ["for now", "still"]
    path.parent.unlink()
    before = database.generation
    put(database, "in the file")
    assert database.generation == before + 1
    assert words(database) == ["in the file"]
    assert path.is_file()
    database.close()


def test_a_full_disk_is_one_sentence_and_passes(path: Path) -> None:
    database = Database(path, [FIRST])
    put(database, "before")
    (pages,) = database.rows("PRAGMA page_count")[0]
    database.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="the disk is full") as caught:
        put(database, *(f"{number} {'x' * 500}" for number in range(100)))
    assert "磁盘已满" in caught.value.text.zh
    database.rows("PRAGMA max_page_count = 1000")
    put(database, "after")
    assert words(database) == ["before", "after"]
    database.close()
