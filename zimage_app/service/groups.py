"""Groups of jobs that were requested together: a folder with named pictures, a manifest and, for a grid, its sheets.

Each group has a folder below outputs/, created once its jobs are queued. A thread adds every picture when its job ends,
and draws the sheets after the last one. After a restart it continues with folders marked as unfinished.
"""

from __future__ import annotations

import errno
import logging
import re
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from zimage_app.domain.errors import GenerationError, StorageError, StudioError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView
from zimage_app.service.many.batch.item_files import picture_path, save_item
from zimage_app.service.many.batch.items import Item
from zimage_app.service.many.batch.manifest import NAME as MANIFEST
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

Kind = Literal["batch", "grid"]
_FOLDERS: dict[Kind, str] = {"batch": "batches", "grid": "grids"}
"""Kind -> folder name below outputs/."""
_RECORD, _OPEN = "group.json", ".open"
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_MAX_BYTES = 16 * 2**20
_TICK = 0.5
"""Seconds between checks of unfinished groups' jobs, and between retries of failed writes."""
_ENDED = ("done", "failed", "cancelled")
_LASTING = frozenset(
    (None, errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ENOTDIR, errno.EILSEQ)
)
"""Error numbers for which a retry is pointless, unlike a full disk. Pillow's errors have None."""
_UNKNOWN_JOB = Text("The app no longer knows this task.", "程序中已没有这个任务。")
_NO_PICTURE = Text("Its picture was deleted before it was put into this folder.", "图片在放入此文件夹之前已被删除。")


@dataclass(frozen=True, slots=True)
class GroupItem(Item):
    """One picture of a group."""

    job: str
    place: tuple[int, int, int] | None = None
    """(column, row, sheet) in a grid."""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The description of a group in its folder; never changed."""

    id: str
    kind: Kind
    title: str
    owner: str
    """``permissions.owner_mark`` of the owner."""
    group: str
    """The group's name in its jobs."""
    created: datetime
    items: tuple[GroupItem, ...]
    labels: tuple[tuple[str, ...], ...] = ()
    """Labels of a grid's columns, rows and sheets."""


@dataclass(frozen=True, slots=True)
class GroupView:
    """The state of a group at one moment."""

    record: GroupRecord
    done: int
    failed: int
    cancelled: int
    finished: bool
    """Whether the group's folder is complete."""
    files: tuple[str, ...]
    """Names of existing sheets, HTML page and manifest."""


_READER = TypeAdapter(GroupRecord)


def new_group_id() -> str:
    """Return a new id of time and random digits; ids sort by time and can't be guessed."""
    return f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


class Groups:
    """The folders of all groups. Thread-safe."""

    def __init__(self, outputs: Path, view: Callable[[str], JobView | None]) -> None:
        """``view`` returns a job's current state, or None if the job is no longer known."""
        self._outputs = outputs
        self._view = view
        self._open: dict[str, tuple[GroupRecord, Manifest]] = {}
        self._owners: dict[Path, str] = {}
        """Folder -> owner mark of each group read so far, so that other owners' groups are not read again."""
        self._turn = threading.Lock()
        """Lock for starting the thread and changing ``_open``."""
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._trouble = ""

    def start(self) -> None:
        """Continue groups that were unfinished when the app ended."""
        for path in self._outputs.glob(f"*/*/{_OPEN}"):
            record = _read(path.parent)
            if record is not None:
                self._follow(record)

    def close(self) -> None:
        """Stop the thread; unfinished groups are completed after the next start."""
        with self._turn:
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def save(self, record: GroupRecord) -> None:
        """Save a group whose jobs are queued; afterwards it survives a restart.

        Raises:
            StorageError: the folder can't be written.
        """
        folder = self._folder(record)
        data = _READER.dump_json(record, indent=1)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _OPEN).touch()
            write_whole(folder / _RECORD, data)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = system_reason(error)
            raise StorageError(
                Text(f"{folder} can't be written ({reason}).", f"无法写入 {folder}（{reason}）。")
            ) from error
        self._follow(record)

    def newest(self, may_see: Callable[[str], bool], count: int) -> list[GroupView]:
        """Return up to ``count`` newest groups whose owner's mark passes ``may_see``."""
        folders = [
            path for name in _FOLDERS.values() for path in (self._outputs / name).glob("*") if _ID.fullmatch(path.name)
        ]
        found: list[GroupView] = []
        for folder in sorted(folders, key=lambda path: path.name, reverse=True):
            if folder in self._owners and not may_see(self._owners[folder]):
                continue
            record = _read(folder)
            if record is None:
                continue
            self._owners[folder] = record.owner
            if may_see(record.owner):
                found.append(self._shown(record))
            if len(found) == count:
                break
        return found

    def unfinished(self, may_see: Callable[[str], bool]) -> list[GroupView]:
        """Return unfinished groups, oldest first, whose owner's mark passes ``may_see``."""
        with self._turn:
            records = [record for record, _ in self._open.values()]
        return [self._shown(record) for record in records if may_see(record.owner)]

    def find(self, group_id: str, may_see: Callable[[str], bool]) -> GroupView | None:
        """Return a group by its id; None if there is none whose owner's mark passes ``may_see``."""
        if not _ID.fullmatch(group_id):
            return None
        for name in _FOLDERS.values():
            record = _read(self._outputs / name / group_id)
            if record is not None and may_see(record.owner):
                return self._shown(record)
        return None

    def file(self, view: GroupView, name: str) -> Path | None:
        """Return the path of a group's manifest, sheet, page or named picture; None if there is no such file."""
        names = {*view.files, *(item.file_name for item in view.record.items)}
        path = self._folder(view.record) / name
        return path if name in names and path.is_file() else None

    def remove(self, view: GroupView) -> None:
        """Delete a group's folder; the pictures stay in the history.

        Raises:
            GenerationError: the group isn't finished.
        """
        if not view.finished:
            raise GenerationError(
                Text(
                    "Its pictures are still being made; cancel them first, or wait.",
                    "其中的图片仍在生成；请先取消或等待完成。",
                )
            )
        shutil.rmtree(self._folder(view.record), ignore_errors=True)

    # Helpers.

    def _folder(self, record: GroupRecord) -> Path:
        return self._outputs / _FOLDERS[record.kind] / record.id

    def _shown(self, record: GroupRecord) -> GroupView:
        folder = self._folder(record)
        states = Counter(_ended(Manifest.read(folder), record))
        done, failed, cancelled = (states[name] for name in _ENDED)
        sheets = sorted(path.name for path in folder.glob("sheet-*.png"))
        names = [*sorted(sheets, key=len), "index.html", MANIFEST]
        files = tuple(name for name in names if (folder / name).is_file())
        finished = not (folder / _OPEN).exists()
        return GroupView(record, done, failed, cancelled, finished, files)

    def _follow(self, record: GroupRecord) -> None:
        with self._turn:
            if self._closed:
                return
            self._open[record.id] = record, Manifest.read(self._folder(record))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="studio-groups", daemon=True)
                self._thread.start()
        self._wake.set()

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait(_TICK if self._open else None)
            self._wake.clear()
            for record, manifest in list(self._open.values()):
                try:
                    if self._collect(record, manifest):
                        with self._turn:
                            del self._open[record.id]
                except (StudioError, OSError) as error:  # retried at the next tick
                    if str(error) != self._trouble:  # logged once, not at every retry
                        self._trouble = str(error)
                        log.warning("group %s: %s", record.id, error)
                except Exception:
                    log.exception("group %s can't be finished", record.id)
                    with self._turn:
                        del self._open[record.id]

    def _collect(self, record: GroupRecord, manifest: Manifest) -> bool:
        """Add jobs that ended since the last check to the folder; return whether the group is finished."""
        if not manifest.folder.is_dir():  # the folder was deleted
            return True
        for item in record.items:
            if self._closed:
                return False
            if manifest.last.get(item.key, {}).get("state") not in _ENDED:
                self._put(item, manifest)
        if len(list(_ended(manifest, record))) < len(record.items):
            return False
        if record.kind == "grid":
            self._lay_out(record, manifest)
        (manifest.folder / _OPEN).unlink(missing_ok=True)
        return True

    def _lay_out(self, record: GroupRecord, manifest: Manifest) -> None:
        """Draw the sheets; a grid with an unreadable picture gets none."""
        try:
            _draw_sheets(record, manifest)
        except StorageError as error:
            if not _lasts(error):
                raise
            log.warning("group %s has no sheets: %s", record.id, error)

    def _put(self, item: GroupItem, manifest: Manifest) -> None:
        view = self._view(item.job)
        if view is not None and not view.ended:
            return
        facts: dict[str, Any] = {"index": item.index, "id": item.id, "job": item.job}
        if view is not None and view.state is JobState.CANCELLED:
            manifest.add("cancelled", item.key, **facts)
            return
        reason = _no_picture(view)
        if view is not None and view.picture is not None:
            try:
                save_item(item, view.picture, manifest)
                return
            except OSError as error:
                if not _lasts(error) or not manifest.folder.is_dir():
                    raise
                reason = _NO_PICTURE if isinstance(error, FileNotFoundError) else _unsaved(item, error)
        manifest.add_end("failed", item.key, reason, **facts)


def _lasts(error: BaseException) -> bool:
    """Whether a retry would fail again: an error of a picture's content, or a permanent one of the system."""
    while error.__cause__ is not None:
        error = error.__cause__
    return not isinstance(error, OSError) or error.errno in _LASTING


def _no_picture(view: JobView | None) -> Text:
    """Return why an ended job has no picture."""
    if view is None:
        return _UNKNOWN_JOB
    return _NO_PICTURE if view.error is None else view.error.text


def _unsaved(item: GroupItem, error: OSError) -> Text:
    reason = system_reason(error)
    return Text(f"{item.file_name} can't be written ({reason}).", f"无法写入 {item.file_name}（{reason}）。")


def _ended(manifest: Manifest, record: GroupRecord) -> Iterator[str]:
    for item in record.items:
        state = manifest.last.get(item.key, {}).get("state")
        if state in _ENDED:
            yield state


def _draw_sheets(record: GroupRecord, manifest: Manifest) -> None:
    from zimage_app.service.many.grids.sheet import write_sheets  # imports Pillow's fonts

    done = [item for item in record.items if manifest.last[item.key]["state"] == "done"]
    pictures = {item.place: path for item in done if item.place and (path := picture_path(item, manifest)).is_file()}
    if pictures:
        write_sheets(manifest.folder, pictures, record.labels)


def _read(folder: Path) -> GroupRecord | None:
    """Read a group's record; None if it is missing or damaged."""
    if not (folder / _RECORD).is_file():
        return None
    with suppress(OSError, ValidationError):
        return _read_once(folder)
    return None


@lru_cache(maxsize=256)
def _read_once(folder: Path) -> GroupRecord:
    return _READER.validate_json(read_regular(folder / _RECORD, _MAX_BYTES))
