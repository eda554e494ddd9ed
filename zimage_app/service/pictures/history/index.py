"""The database index of all pictures, built from the files and rebuilt when it is lost or damaged.

Access rights are never granted by a row alone: the owner's mark is read from the picture's file.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.errors import StorageError
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.text import normalised
from zimage_app.service.pictures.gallery import PictureMetadata, is_id, read_metadata
from zimage_app.service.pictures.history.folders import TRASH, FolderScan, PictureFile
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.storage.database import Database, Migration

log = logging.getLogger(__name__)

_COLUMNS = (
    "path", "folder", "mtime", "size", "trashed", "id", "owner", "day", "created", "model", "prompt", "seed", "width",
    "height", "seconds", "text", "steps", "device",
)  # fmt: skip
_MIGRATIONS: tuple[Migration, ...] = (
    (
        # One row for each PNG below outputs/; id is null for those that aren't ours.
        "CREATE TABLE files (path TEXT PRIMARY KEY, folder TEXT NOT NULL, mtime INTEGER NOT NULL,"
        " size INTEGER NOT NULL, trashed INTEGER NOT NULL, id TEXT, owner TEXT NOT NULL, day TEXT NOT NULL,"
        " created REAL NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, seed TEXT NOT NULL,"
        " width INTEGER NOT NULL, height INTEGER NOT NULL, seconds REAL NOT NULL, text TEXT NOT NULL,"
        # Copies of a picture are listed once.
        " shown INTEGER NOT NULL, sum INTEGER NOT NULL)",
        "CREATE INDEX files_by_folder ON files (folder)",
        "CREATE INDEX files_by_id ON files (id)",
        "CREATE INDEX files_by_time ON files (shown, trashed, day, created, id)",
        "CREATE TABLE favourites (id TEXT PRIMARY KEY)",
    ),
    # The search text includes the typed prompt template: reread all files.
    ("DELETE FROM files",),
    (
        "ALTER TABLE files ADD COLUMN steps INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE files ADD COLUMN device TEXT NOT NULL DEFAULT ''",
        "DELETE FROM files",
    ),
    # LoRAs are found by any word of their names: reread all files.
    ("DELETE FROM files",),
    # Seeds are searched as they were used.
    ("DELETE FROM files",),
)
_SHOW = (
    "UPDATE files SET shown = (path = (SELECT path FROM files AS copy WHERE copy.id = files.id"
    " AND copy.trashed = files.trashed ORDER BY copy.path LIMIT 1))"
)
FileRow = tuple[Any, ...]
MAX_SEARCH = 400
"""Maximum characters of a search; SQLite allows about a thousand conditions, and each word is one."""


@dataclass(frozen=True, slots=True)
class Search:
    """Search criteria; all that are given must match."""

    text: str = ""
    """Words or quoted phrases that must all occur in prompt or settings. ``seed:``, ``lora:``, ``model:``,
    ``sampler:``, ``scheduler:`` and ``date:``, or their Chinese names, restrict a word to that setting."""
    favourites: bool = False
    day: str | None = None
    """``YYYY-MM-DD``."""
    model: str | None = None
    trashed: bool = False
    """Search deleted pictures instead of the others."""


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A picture in a listing. ``History.find`` reads all its settings from its file."""

    id: str
    path: Path
    day: str
    """``YYYY-MM-DD``, in the time zone that the picture was made in."""
    created: datetime
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    seconds: float
    steps: int
    """Sum over all stages."""
    device: str
    """Type of the device that made it, such as ``cuda``."""
    size: int
    """Size of the file in bytes."""
    favourite: bool


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page of a listing, newest first."""

    items: tuple[HistoryItem, ...]
    total: int
    """Number of pictures on all pages."""
    page: int
    """Page number from 1; limited to the last page."""
    pages: int
    """At least 1."""
    reading: bool = False
    """Whether files are still being read, so that more pictures may appear."""


class Index:
    """The index. Each method is one transaction; raises StorageError if the database can't be used."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root = root
        self._database = Database(path, _MIGRATIONS)

    @property
    def generation(self) -> int:
        """A number that increases whenever the index is replaced by an empty one."""
        return self._database.generation

    def take(self, listing: FolderScan) -> list[PictureFile]:
        """Remove rows of files that no longer exist; return files that are new or changed."""
        new: list[PictureFile] = []
        with self._database.transaction() as connection:
            known_folders = {row["folder"] for row in connection.execute("SELECT DISTINCT folder FROM files")}
            for folder in known_folders - listing.folders:
                _forget(connection, _known(connection, folder))
            for folder, files in listing.changed.items():
                known = _known(connection, folder)
                _forget(connection, known.keys() - {file.path for file in files})
                new += [file for file in files if known.get(file.path) != (file.mtime, file.size)]
        return new

    def read(self, files: Sequence[PictureFile]) -> None:
        """Read files and add them to the index in one transaction."""
        rows = [self._row(file) for file in files]
        with self._database.transaction() as connection:
            _put(connection, rows)

    def moved(self, old: Iterable[str], new: Sequence[PictureFile]) -> None:
        """Replace the rows of moved or deleted files."""
        rows = [self._row(file) for file in new]
        with self._database.transaction() as connection:
            _forget(connection, list(old))
            _put(connection, rows)

    def mend(self) -> None:
        """Delete rows whose checksum doesn't match, so that their files are read again."""
        query = f"SELECT rowid, sum, {', '.join(_COLUMNS)} FROM files"
        try:
            wrong = [(row["rowid"],) for row in self._database.rows(query) if row["sum"] != _sum(tuple(row)[2:])]
        except StorageError:  # a single invalid text value fails the whole query
            log.warning("the index of the pictures is damaged, and made anew")
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM files")
            return
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM files WHERE rowid = ?", wrong)
            connection.execute(f"{_SHOW} WHERE id IS NOT NULL")

    def set_favourites(self, ids: Iterable[str]) -> None:
        """Replace the favourites by these ids."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM favourites")
            connection.executemany("INSERT OR IGNORE INTO favourites VALUES (?)", [(each,) for each in ids])

    def places(self, picture_id: str, *, trashed: bool = False) -> list[str]:
        """Return the paths of a picture and its copies, relative to ``outputs/``; the listed one comes first."""
        query = "SELECT path FROM files WHERE id = ? AND trashed = ? ORDER BY shown DESC, path"
        return [row["path"] for row in self._database.rows(query, (picture_id, int(trashed)))]

    def page(self, search: Search, owner: str | None, page: int, page_size: int) -> HistoryPage:
        """Return one page of matching pictures; ``owner`` None sees all."""
        where, values = _condition(search, owner)
        (count,) = self._database.rows(f"SELECT COUNT(*) AS total FROM files WHERE {where}", values)
        pages = max(1, -(-count["total"] // page_size))
        page = min(max(page, 1), pages)
        rows = self._database.rows(
            "SELECT id, path, day, created, model, prompt, seed, width, height, seconds, steps, device, size,"
            " EXISTS (SELECT 1 FROM favourites WHERE favourites.id = files.id) AS favourite"
            f" FROM files WHERE {where} ORDER BY day DESC, created DESC, id DESC LIMIT ? OFFSET ?",
            (*values, page_size, (page - 1) * page_size),
        )
        return HistoryPage(tuple(self._item(row) for row in rows), count["total"], page, pages)

    def ids(self, search: Search, owner: str | None) -> list[str]:
        """Return the ids of all matching pictures, newest first."""
        where, values = _condition(search, owner)
        query = f"SELECT id FROM files WHERE {where} ORDER BY day DESC, created DESC, id DESC"
        return [row["id"] for row in self._database.rows(query, values)]

    def counts(self, column: str, owner: str | None) -> list[tuple[str, int]]:
        """Count pictures by ``column``: ``day`` (newest first) or ``model`` (by name)."""
        where, values = _condition(Search(), owner)
        name, order = {"day": ("day", "day DESC"), "model": ("model", "model")}[column]
        query = f"SELECT {name} AS name, COUNT(*) AS count FROM files WHERE {where} GROUP BY {name} ORDER BY {order}"
        return [(row["name"], row["count"]) for row in self._database.rows(query, values)]

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _item(self, row: sqlite3.Row) -> HistoryItem:
        return HistoryItem(
            id=row["id"],
            path=self._root / row["path"],
            day=row["day"],
            created=datetime.fromtimestamp(row["created"]).astimezone(),
            model=row["model"],
            prompt=row["prompt"],
            seed=int(row["seed"]),
            width=row["width"],
            height=row["height"],
            seconds=row["seconds"],
            steps=row["steps"],
            device=row["device"],
            size=row["size"],
            favourite=bool(row["favourite"]),
        )

    def _row(self, file: PictureFile) -> FileRow:
        trashed = int(file.path.startswith(f"{TRASH}/"))
        place = (file.path, file.folder, file.mtime, file.size, trashed)
        try:
            head = read_metadata(self._root / file.path)
        except StorageError:
            head = None
        if head is None or not is_id(head.record.id):
            return (*place, None, "", "", 0.0, "", "", "", 0, 0, 0.0, "", 0, "")
        record = head.record
        day = f"{record.id[:4]}-{record.id[4:6]}-{record.id[6:8]}"
        made = (record.id, head.owner, day, record.created.timestamp(), record.model, record.request.prompt)
        size = (str(record.seeds[0]), record.width, record.height, record.seconds)
        return (*place, *made, *size, search_text(head, day), record.steps, record.surroundings.device)


def _known(connection: sqlite3.Connection, folder: str) -> dict[str, tuple[int, int]]:
    """Return path -> (mtime, size) of a folder's files at the time they were read."""
    rows = connection.execute("SELECT path, mtime, size FROM files WHERE folder = ?", (folder,))
    return {row["path"]: (row["mtime"], row["size"]) for row in rows}


def _put(connection: sqlite3.Connection, rows: Iterable[FileRow]) -> None:
    names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
    for row in rows:
        _forget(connection, row[:1])  # a path may have held another picture, whose copies must be listed then
        connection.execute(f"INSERT INTO files ({names}, shown, sum) VALUES ({marks}, 0, ?)", (*row, _sum(row)))
        _choose_listed_copy(connection, row[_COLUMNS.index("id")])


def _forget(connection: sqlite3.Connection, paths: Iterable[str]) -> None:
    for path in paths:
        row = connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
        connection.execute("DELETE FROM files WHERE path = ?", (path,))
        if row is not None:
            _choose_listed_copy(connection, row["id"])


def _choose_listed_copy(connection: sqlite3.Connection, picture_id: str | None) -> None:
    """Choose the copy of a picture that is listed: one that isn't deleted, if possible."""
    if picture_id is not None:
        connection.execute(f"{_SHOW} WHERE id = ?", (picture_id,))


def _sum(row: FileRow) -> int:
    """Return a row's checksum, to detect disk errors that SQLite's own check doesn't find."""
    return zlib.crc32(repr(row).encode("utf-8", "replace"))


# Searching.

_TERM = re.compile(r'"([^"]+)(?:"|$)|([^\s"]+)')
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_PLACES = {
    "种子": "seed",
    "種子": "seed",
    "模型": "model",
    "采样器": "sampler",
    "取樣器": "sampler",
    "调度器": "scheduler",
    "排程器": "scheduler",
    "日期": "date",
}
_NAMES = frozenset({*_PLACES.values(), "lora"})
_WHOLE = {"sampler": frozenset(SAMPLER_TRAITS), "scheduler": frozenset(SCHEDULERS)}
"""Names that are part of other ones, as euler is of euler_ancestral, and are searched for as a whole."""


def search_text(head: PictureMetadata, day: str) -> str:
    """Return the case-folded text that searches look at: prompts, and settings as ``name:value``."""
    record = head.record
    request = record.request
    stages = request.stages or ()
    used = [stages[stage.number] for stage in record.stages]
    words = [
        request.prompt,
        request.template.prompt if request.template else "",
        request.negative,
        *request.triggers,
        *(f"lora:{part}" for use in request.loras if use.strength for part in _name_parts(use.name)),
        *(word for use in request.loras if use.strength for word in use.triggers),
        f"model:{record.model}",
        *(f"seed:{seed}" for seed in record.seeds),
        *sorted({f"sampler:{stage.sampler}" for stage in used} | {f"scheduler:{stage.scheduler}" for stage in used}),
        f"{record.width}x{record.height}",
        f"date:{day}",
        record.id,
    ]
    return folded("\n".join(words))


def _name_parts(name: str) -> list[str]:
    """Return the name and its suffixes from each word on, so that ``lora:ink`` finds ``demo-ink-wash``."""
    return [name, *(name[found.end() :] for found in _BETWEEN_WORDS.finditer(name))]


def folded(text: str) -> str:
    """Normalise case and full-width characters for comparison."""
    return normalised(text, "NFKC").casefold()


def _terms(text: str) -> list[str]:
    """Split a search into terms in the form used by ``search_text``."""
    terms = []
    for quoted, bare in _TERM.findall(folded(text).replace("×", "x")):
        term = quoted or bare
        place, colon, rest = term.partition(":")
        terms.append(f"{_PLACES[place]}:{rest}" if colon and place in _PLACES else term)
    return terms


def _matches(term: str) -> tuple[str, list[object]]:
    """Return the condition of one term: a whole ``name:value`` for a seed, sampler or scheduler, else any part.

    The beginning of a sampler's name finds all that begin so. An unknown name before a colon may be left out.
    """
    place, colon, rest = term.partition(":")
    if rest and (place == "seed" or rest in _WHOLE.get(place, ())):
        return "instr(char(10) || text || char(10), ?) > 0", [f"\n{term}\n"]
    if place.isalpha() and place not in _NAMES and colon and rest[:1].isalpha():
        return "(instr(text, ?) > 0 OR instr(text, ?) > 0)", [term, rest]
    return "instr(text, ?) > 0", [term]


def _condition(search: Search, owner: str | None) -> tuple[str, list[object]]:
    parts = ["shown = 1", "trashed = ?"]
    values: list[object] = [int(search.trashed)]
    if owner is not None:
        parts.append("owner = ? AND owner != ''")
        values.append(owner_mark(owner))
    for column, value in (("day", search.day), ("model", search.model)):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(value)
    if search.favourites:
        parts.append("id IN (SELECT id FROM favourites)")
    for term in _terms(search.text):
        condition, wanted = _matches(term)
        parts.append(condition)
        values += wanted
    return " AND ".join(parts), values
