"""The pictures that were made: pages of them, favourites, the trash, ZIPs. Knows no page and no models.

The index is brought up to date by a look at the folders before each list, so pictures that were copied in by hand
appear and deleted ones are gone. A first reading of many files goes on in the background.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text
from zimage_app.service.gallery import Gallery, is_id, read_head, stage_files
from zimage_app.service.history.archive import zip_stream
from zimage_app.service.history.favourites import Favourites
from zimage_app.service.history.folders import TRASH, Folders, picture_file
from zimage_app.service.history.index import HistoryPage, Index, Search
from zimage_app.service.permissions import owner_mark
from zimage_app.service.views import SavedPicture

log = logging.getLogger(__name__)

INDEX_NAME = ".history.sqlite"
_PATIENCE = 0.5
"""Seconds that a list waits for new files to be read; what isn't read by then comes with a later list."""
_LAST_PATIENCE = 3.0
"""Seconds that the end waits for a reading to break off."""
_BATCH = 200
"""Files that are read between two commits, so that a long reading is seen as it goes and a stop loses little."""
_ALL = Search()


class History:
    """The pictures below one folder. Its methods may be called from any thread.

    ``owner`` is who asks. Only where the page is ``shared`` does it matter: then everybody sees and changes their own
    pictures alone, and an empty ``owner`` has none. None, the owner of the machine, always sees all.
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
        """One page of the pictures that fit, newest first. Raises StorageError where the index can't be used."""
        current = self.refresh(_PATIENCE)
        if self._index is None:  # still being opened
            return HistoryPage((), 0, 1, 1, reading=True)
        found = self._index.page(search, self._who(owner), page, page_size)
        return HistoryPage(found.items, found.total, found.page, found.pages, reading=not current)

    def ids(self, owner: str | None, search: Search = _ALL) -> list[str]:
        """The ids of all pictures that fit, newest first."""
        self.refresh(_PATIENCE)
        return [] if self._index is None else self._index.ids(search, self._who(owner))

    def days(self, owner: str | None) -> list[tuple[str, int]]:
        """The days of which there are pictures, newest first, and how many."""
        return [] if self._index is None else self._index.counts("day", self._who(owner))

    def models(self, owner: str | None) -> list[tuple[str, int]]:
        """The models that pictures were made with, and how many."""
        return [] if self._index is None else self._index.counts("model", self._who(owner))

    def find(self, picture_id: str, owner: str | None, *, trashed: bool = False) -> SavedPicture | None:
        """A picture with its settings, read from its file; None where there is none that this owner may see.

        Raises:
            StorageError: it is damaged.
        """
        who = self._who(owner)
        for path in self._places(picture_id, trashed=trashed):
            if not path.is_file():
                continue
            head = read_head(path)
            if head.record.id == picture_id and (who is None or (head.owner and head.owner == owner_mark(who))):
                return SavedPicture(path, head.record)
        return None

    def latest(self, owner: str | None) -> SavedPicture | None:
        """The newest picture."""
        items = self.page(owner, page_size=1).items
        return self.find(items[0].id, owner) if items else None

    def is_favourite(self, picture_id: str) -> bool:
        """Whether a picture is starred."""
        return picture_id in self._favourites.ids()

    def stages(self, picture: SavedPicture) -> list[tuple[int, Path]]:
        """The stage pictures that were kept with it, by their number from 1."""
        return stage_files(picture.path)

    def zip(self, ids: Iterable[str], owner: str | None) -> Iterator[bytes]:
        """A ZIP of pictures and their stages, piece by piece; ids of no picture of this owner are passed over."""
        pictures = [picture for each in dict.fromkeys(ids) if (picture := self._found(each, owner))]
        return zip_stream((path.name, path) for picture in pictures for path in _with_stages(picture.path))

    # Changing. Each gives the ids that it changed.

    def favourite(self, ids: Iterable[str], owner: str | None, *, on: bool = True) -> list[str]:
        """Star pictures, or take the star off.

        Raises:
            StorageError: it can't be kept.
        """
        mine = [each for each in ids if self._found(each, owner)]
        self._favourites.mark(mine, on=on)
        self._sync_favourites()
        return mine

    def delete(self, ids: Iterable[str], owner: str | None) -> list[str]:
        """Move pictures, their copies and stages to the trash.

        Raises:
            StorageError: a file can't be moved; those before it are.
        """
        return [each for each in dict.fromkeys(ids) if self._found(each, owner) and self._move(each, trashed=False)]

    def undo(self, ids: Iterable[str], owner: str | None) -> list[str]:
        """Put deleted pictures back where they were.

        Raises:
            StorageError: a file can't be moved; those before it are.
        """
        wanted = dict.fromkeys(ids)
        return [each for each in wanted if self._found(each, owner, trashed=True) and self._move(each, trashed=True)]

    def empty_trash(self, owner: str | None) -> list[str]:
        """Delete for good what lies in the trash.

        Raises:
            StorageError: a file can't be deleted; those before it are.
        """
        gone = [each for each in self.ids(owner, Search(trashed=True)) if self._found(each, owner, trashed=True)]
        for picture_id in gone:
            for path in self._places(picture_id, trashed=True):
                with _worded(path):
                    for file in _with_stages(path):
                        file.unlink(missing_ok=True)
        self.refresh(_PATIENCE)
        return gone

    # Keeping up.

    def start(self) -> None:
        """Begin to read in the background."""
        self.refresh(0.0)

    def refresh(self, patience: float | None = None) -> bool:
        """Bring the index up to date, which goes on in the background after ``patience`` seconds (None: wait).

        Gives whether it is.
        """
        if self._closing.is_set() or not self._turn.acquire(timeout=-1 if patience is None else patience):
            return False
        worker = threading.Thread(target=self._read_and_let_go, name="history-reader", daemon=True)
        worker.start()
        worker.join(patience)
        return not worker.is_alive()

    def close(self) -> None:
        """Let go of the index. A long reading breaks off; the next start goes on with it.

        One that hangs, as on a disk of a network that is gone, is left behind: the program's end must not wait for it.
        """
        self._closing.set()
        if not self._turn.acquire(timeout=_LAST_PATIENCE):
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
                break  # else the database was lost just now, and a fresh one begun
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

    # Parts.

    def _who(self, owner: str | None) -> str | None:
        return owner if self._shared else None

    def _found(self, picture_id: str, owner: str | None, *, trashed: bool = False) -> SavedPicture | None:
        """As ``find``, but a damaged picture is none."""
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
        # What the index doesn't know (yet) lies where it was saved.
        usual = self._gallery.path_of(picture_id)
        usual = self._folder / TRASH / usual.relative_to(self._folder) if trashed else usual
        return list(dict.fromkeys([*(self._folder / name for name in names), usual]))

    def _move(self, picture_id: str, *, trashed: bool) -> bool:
        """All files of a picture into the trash or out of it; gives whether there were any."""
        base, onto = (self._folder / TRASH, self._folder) if trashed else (self._folder, self._folder / TRASH)
        moved: list[tuple[Path, Path]] = []
        try:
            for path in self._places(picture_id, trashed=trashed):
                if path.is_file():
                    with _worded(path):
                        moved.append((path, _move_with_stages(path, onto / path.relative_to(base))))
        finally:
            self._tell_moved(moved)
        return bool(moved)

    def _tell_moved(self, moved: list[tuple[Path, Path]]) -> None:
        if self._index is None or not moved:
            return
        with contextlib.suppress(StorageError, OSError):  # the next look at the folders finds it out too
            old = [path.relative_to(self._folder).as_posix() for path, _ in moved]
            self._index.moved(old, [picture_file(self._folder, path) for _, path in moved])


def _with_stages(path: Path) -> list[Path]:
    return [path, *(stage for _, stage in stage_files(path))]


def _move_with_stages(path: Path, target: Path) -> Path:
    """Give a picture another place, beside what lies there already; gives its path."""
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
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            Text(f"{path.name} could not be moved or deleted: {reason}.", f"无法移动或删除 {path.name}：{reason}。")
        ) from error
