"""The history of pictures: pages, favourites, trash and ZIPs. Independent of the web page and of models.

The folders are scanned before each listing, so that pictures copied in or deleted by hand are noticed. Reading many new
files continues in the background.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Text
from zimage_app.service.pictures.gallery import Gallery, is_id, read_metadata, stage_files
from zimage_app.service.pictures.history.archive import zip_stream
from zimage_app.service.pictures.history.favourites import Favourites
from zimage_app.service.pictures.history.folders import TRASH, Folders, picture_file
from zimage_app.service.pictures.history.index import HistoryPage, Index, Search
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.permissions import owner_mark

log = logging.getLogger(__name__)

INDEX_NAME = ".history.sqlite"
_REFRESH_TIMEOUT = 0.5
"""Seconds that a listing waits for new files to be read; files read later appear in a later listing."""
_CLOSE_TIMEOUT = 3.0
"""Seconds that ``close`` waits for a background read to stop."""
_BATCH = 200
"""Files read per transaction, so that listings show progress and stopping loses little work."""
_ALL = Search()


class History:
    """The pictures below one folder. Thread-safe.

    ``owner`` identifies the caller and matters only if the page is ``shared``: then each owner sees and changes only
    their own pictures, and an empty ``owner`` has none. None is the machine's owner, who sees all.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder = folder
        self._shared = shared
        self._gallery = Gallery(folder)
        self._favourites = Favourites(folder)
        self._folders = Folders(folder)
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self._index: Index | None = None
        self._generation = -1
        self._stamp: tuple[int, int, int] | None = None

    # Reading.

    def page(self, owner: str | None, search: Search = _ALL, page: int = 1, page_size: int = 20) -> HistoryPage:
        """Return one page of matching pictures, newest first. Raises StorageError if the index can't be used."""
        current = self.refresh(_REFRESH_TIMEOUT)
        if self._index is None:  # the index is still being opened
            return HistoryPage((), 0, 1, 1, reading=True)
        found = self._index.page(search, self._who(owner), page, page_size)
        return HistoryPage(found.items, found.total, found.page, found.pages, reading=not current)

    def ids(self, owner: str | None, search: Search = _ALL) -> list[str]:
        """Return the ids of all matching pictures, newest first."""
        self.refresh(_REFRESH_TIMEOUT)
        return [] if self._index is None else self._index.ids(search, self._who(owner))

    def days(self, owner: str | None) -> list[tuple[str, int]]:
        """Return (day, number of pictures), newest day first."""
        return [] if self._index is None else self._index.counts("day", self._who(owner))

    def models(self, owner: str | None) -> list[tuple[str, int]]:
        """Return (model, number of pictures), sorted by model."""
        return [] if self._index is None else self._index.counts("model", self._who(owner))

    def find(self, picture_id: str, owner: str | None, *, trashed: bool = False) -> SavedPicture | None:
        """Return a picture with the settings from its file; None if there is none that this owner may see.

        Raises:
            StorageError: the file is damaged.
        """
        who = self._who(owner)
        for path in self._places(picture_id, trashed=trashed):
            if not path.is_file():
                continue
            head = read_metadata(path)
            if head.record.id == picture_id and (who is None or (head.owner and head.owner == owner_mark(who))):
                return SavedPicture(path, head.record)
        return None

    def latest(self, owner: str | None) -> SavedPicture | None:
        """Return the newest picture, or None."""
        items = self.page(owner, page_size=1).items
        return self.find(items[0].id, owner) if items else None

    def is_favourite(self, picture_id: str) -> bool:
        """Whether a picture is starred."""
        return picture_id in self._favourites.ids()

    def stages(self, picture: SavedPicture) -> list[tuple[int, Path]]:
        """Return (stage number from 1, path) of the stage pictures saved with a picture."""
        return stage_files(picture.path)

    def existing(self, ids: Iterable[str], owner: str | None) -> list[str]:
        """Return the ids of those pictures that exist and that this owner may see."""
        return [each for each in dict.fromkeys(ids) if self._found(each, owner)]

    def zip(self, ids: Iterable[str], owner: str | None) -> Iterator[bytes]:
        """Yield a ZIP of pictures and their stage pictures; ids of other owners' or unknown pictures are skipped."""
        pictures = [picture for each in dict.fromkeys(ids) if (picture := self._found(each, owner))]
        return zip_stream((path.name, path) for picture in pictures for path in _with_stages(picture.path))

    # Changing. Each method returns the ids that it changed.

    def favourite(self, ids: Iterable[str], owner: str | None, *, on: bool = True) -> list[str]:
        """Star pictures, or remove their stars.

        Raises:
            StorageError: the file of favourites can't be written.
        """
        mine = self.existing(ids, owner)
        self._favourites.mark(mine, on=on)
        self._sync_favourites()
        return mine

    def delete(self, ids: Iterable[str], owner: str | None) -> list[str]:
        """Move pictures, their copies and stage pictures to the trash.

        Raises:
            StorageError: a file can't be moved; earlier ones have been moved.
        """
        return [each for each in dict.fromkeys(ids) if self._found(each, owner) and self._move(each, trashed=False)]

    def undo(self, ids: Iterable[str], owner: str | None) -> list[str]:
        """Restore deleted pictures from the trash.

        Raises:
            StorageError: a file can't be moved; earlier ones have been moved.
        """
        wanted = dict.fromkeys(ids)
        return [each for each in wanted if self._found(each, owner, trashed=True) and self._move(each, trashed=True)]

    def empty_trash(self, owner: str | None) -> list[str]:
        """Delete the owner's pictures in the trash permanently.

        Raises:
            StorageError: a file can't be deleted; earlier ones have been deleted.
        """
        gone = [each for each in self.ids(owner, Search(trashed=True)) if self._found(each, owner, trashed=True)]
        for picture_id in gone:
            for path in self._places(picture_id, trashed=True):
                with _storage_errors(path):
                    for file in _with_stages(path):
                        file.unlink(missing_ok=True)
        self.refresh(_REFRESH_TIMEOUT)
        return gone

    # Updating the index.

    def start(self) -> None:
        """Start reading the folders in the background."""
        self.refresh(0.0)

    def refresh(self, timeout: float | None = None) -> bool:
        """Update the index; return whether it is up to date.

        Waits up to ``timeout`` seconds (None: until done); the update then continues in the background.
        """
        if self._closing.is_set() or not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            return False
        worker = threading.Thread(target=self._read_and_let_go, name="history-reader", daemon=True)
        worker.start()
        worker.join(timeout)
        return not worker.is_alive()

    def close(self) -> None:
        """Close the index. A long read is interrupted and continues at the next start.

        A read that hangs, such as on a lost network drive, is abandoned, so that the program can exit.
        """
        self._closing.set()
        if not self._turn.acquire(timeout=_CLOSE_TIMEOUT):
            log.warning("the history's reader hangs, and is left behind")
            return
        try:
            if self._index is not None:
                self._index.close()
                self._index = None
        finally:
            self._turn.release()

    def _read_and_let_go(self) -> None:
        try:
            self._read()
        except StorageError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("the history could not be read")
        finally:
            self._turn.release()

    def _read(self) -> None:
        if self._index is None:
            index = Index(self._folder, self._folder / INDEX_NAME)
            index.mend()
            self._index = index
        while True:
            generation = self._index.generation
            files = self._index.take(self._folders.look(thorough=generation != self._generation))
            if generation == self._index.generation:
                break  # otherwise an empty database has replaced it in the meantime
        self._sync_favourites()
        for start in range(0, len(files), _BATCH):
            if self._closing.is_set():
                return
            self._index.read(files[start : start + _BATCH])
        self._generation = generation

    def _sync_favourites(self) -> None:
        stamp = self._favourites.stamp()
        if self._index is not None and (stamp != self._stamp or self._generation != self._index.generation):
            self._index.set_favourites(self._favourites.ids())
            self._stamp = stamp

    # Helpers.

    def _who(self, owner: str | None) -> str | None:
        return owner if self._shared else None

    def _found(self, picture_id: str, owner: str | None, *, trashed: bool = False) -> SavedPicture | None:
        """Like ``find``, but return None for a damaged picture."""
        with contextlib.suppress(StorageError):
            return self.find(picture_id, owner, trashed=trashed)
        return None

    def _places(self, picture_id: str, *, trashed: bool) -> list[Path]:
        if not is_id(picture_id):
            return []
        names: list[str] = []
        if self._index is not None:
            with contextlib.suppress(StorageError):
                names = self._index.places(picture_id, trashed=trashed)
        # A picture that isn't indexed yet is where the gallery saved it.
        usual = self._gallery.path_of(picture_id)
        usual = self._folder / TRASH / usual.relative_to(self._folder) if trashed else usual
        return list(dict.fromkeys([*(self._folder / name for name in names), usual]))

    def _move(self, picture_id: str, *, trashed: bool) -> bool:
        """Move all files of a picture out of the trash (``trashed``) or into it; return whether there were any."""
        base, onto = (self._folder / TRASH, self._folder) if trashed else (self._folder, self._folder / TRASH)
        moved: list[tuple[Path, Path]] = []
        try:
            for path in self._places(picture_id, trashed=trashed):
                if path.is_file():
                    with _storage_errors(path):
                        moved.append((path, _move_with_stages(path, onto / path.relative_to(base))))
        finally:
            self._tell_moved(moved)
        return bool(moved)

    def _tell_moved(self, moved: list[tuple[Path, Path]]) -> None:
        if self._index is None or not moved:
            return
        with contextlib.suppress(StorageError, OSError):  # the next scan of the folders notices the move too
            old = [path.relative_to(self._folder).as_posix() for path, _ in moved]
            self._index.moved(old, [picture_file(self._folder, path) for _, path in moved])


def _with_stages(path: Path) -> list[Path]:
    return [path, *(stage for _, stage in stage_files(path))]


def _move_with_stages(path: Path, target: Path) -> Path:
    """Move a picture and its stage pictures, under another name if ``target`` exists; return the new path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free, number = target, 1
    while free.exists():
        number += 1
        free = target.with_name(f"{target.stem}.{number}{target.suffix}")
    _, *stages = _with_stages(path)
    path.rename(free)
    for stage in stages:
        stage.rename(free.with_name(free.stem + stage.name.removeprefix(path.stem)))
    return free


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = system_reason(error)
        raise StorageError(
            Text(f"{path.name} could not be moved or deleted: {reason}.", f"无法移动或删除 {path.name}：{reason}。")
        ) from error
