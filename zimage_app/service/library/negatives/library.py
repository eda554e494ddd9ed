"""The folder ``presets/negative/`` as a library: categories, favourites, search, the user's own entries.

A broken file does not hide the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.negatives import NegativeCategory, NegativeEntry
from zimage_app.domain.similar_names import similar_names
from zimage_app.domain.text import Text, folded
from zimage_app.models.disk.folders import visible
from zimage_app.service.library.negatives.file import problem_of, read_category, read_names, write_category
from zimage_app.service.storage.yaml_files import write_yaml

MINE = "my"
"""The category of the user's own entries, and the name of its file."""
_MY_TITLE = Text("My own", "我的词条")
_FAVOURITES = ".favourites.yaml"
_FAVOURITES_TITLE = Text("Favourites", "收藏")


@dataclass(frozen=True, slots=True)
class _Index:
    categories: tuple[NegativeCategory, ...]
    favourites: tuple[str, ...]


class NegativeLibrary:
    """The negative prompts of some folders. Thread-safe; the folders are read at the first call."""

    def __init__(self, folder: Path, *shipped: Path) -> None:
        self.folder = folder
        self._shipped = shipped
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def categories(self, *, refresh: bool = False) -> tuple[NegativeCategory, ...]:
        """One category per file, the user's own first, then by file name; broken ones too, with their ``problem``.

        ``refresh`` reads the folders again.
        """
        return self._looked(refresh=refresh).categories

    def favourites(self) -> tuple[str, ...]:
        """The texts of the favourite entries, in the order in which they were marked."""
        return self._looked().favourites

    def search(self, text: str) -> tuple[NegativeCategory, ...]:
        """Find the entries whose Chinese, English or when-to-use text contains every word of ``text``.

        Categories without matching entries are left out.
        """
        found = (
            replace(category, entries=tuple(entry for entry in category.entries if entry.matches(text)))
            for category in self.categories()
        )
        return tuple(category for category in found if category.entries)

    def find(self, name: str) -> NegativeEntry:
        """Find an entry by its Chinese text or English meaning.

        Raises:
            RequestError: there is none; lists similar ones.
        """
        entries = [entry for category in self.categories() for entry in category.entries]
        wanted = folded(name)
        named = [*((entry.text, entry) for entry in entries), *((entry.meaning, entry) for entry in entries)]
        found = next((entry for word, entry in named if wanted and folded(word) == wanted), None)
        if found is not None:
            return found
        names = {folded(word): entry.text for word, entry in reversed(named) if word}
        close = ", ".join(dict.fromkeys(names[each] for each in similar_names(wanted, names)))
        raise RequestError(
            "negative",
            Text(
                f"{name!r} is no entry of the library; "
                + (f"did you mean {close}?" if close else "'python -m zimage_app negatives' lists them all"),
                f"词库中没有 {name!r}；"
                + (f"是否指 {close}？" if close else "可用 python -m zimage_app negatives 列出全部"),
            ),
        )

    def add(self, text: str, meaning: str = "") -> None:
        """Add an entry to the user's own category.

        Raises:
            RequestError: the text is not a single phrase, or is in the library already.
            StorageError: the user's file is damaged, or can't be written.
        """
        text, meaning = text.strip(), meaning.strip()
        problem = problem_of(text) or problem_of(meaning or text)
        if problem is not None:
            raise RequestError("negative", problem)
        with self._lock:
            holder = _holder(self._look().categories, text)
            if holder is not None:
                raise RequestError(
                    "negative",
                    Text(
                        f"{text!r} is in the library already, under {holder.title.en}",
                        f"{text!r} 已在词库的「{holder.title.zh}」中",
                    ),
                )
            mine = self._mine()
            write_category(self._path(), replace(mine, entries=(*mine.entries, NegativeEntry(text, meaning))))
            self._index = self._look()

    def remove(self, text: str) -> None:
        """Remove one of the user's own entries; shipped entries stay. Raises StorageError as ``add`` does."""
        with self._lock:
            mine = self._mine()
            write_category(self._path(), replace(mine, entries=tuple(e for e in mine.entries if e.text != text)))
            self._index = self._look()

    def mark(self, text: str, *, favourite: bool) -> None:
        """Mark an entry as a favourite, or remove the mark.

        Raises:
            RequestError: there is no such entry.
            StorageError: the list of favourites is damaged, or can't be written.
        """
        if favourite:
            text = self.find(text).text
        with self._lock:
            path = self.folder / _FAVOURITES
            others = [each for each in read_names(path) if each != text]
            write_yaml(path, [*others, text] if favourite else others)
            self._index = self._look()

    # Parts.

    def _looked(self, *, refresh: bool = False) -> _Index:
        with self._lock:
            if self._index is None or refresh:
                self._index = self._look()
            return self._index

    def _look(self) -> _Index:
        files = (path for folder in (*self._shipped, self.folder) for path in visible(folder.glob("*.yaml")))
        shown = {path.name: path for path in files}  # the user's own category takes precedence
        categories = [_read(path) for path in sorted(shown.values(), key=lambda path: (path.stem != MINE, path.name))]
        try:
            favourites = read_names(self.folder / _FAVOURITES)
        except StorageError as error:
            favourites = ()
            categories.append(NegativeCategory(_FAVOURITES, _FAVOURITES_TITLE, problem=error.text))
        known = {entry.text for category in categories for entry in category.entries}
        return _Index(tuple(categories), tuple(text for text in favourites if text in known))

    def _path(self) -> Path:
        return self.folder / f"{MINE}.yaml"

    def _mine(self) -> NegativeCategory:
        """The user's own category as on disk; raises StorageError where it can't be read."""
        return read_category(self._path()) if self._path().is_file() else NegativeCategory(MINE, _MY_TITLE)


def _holder(categories: Iterable[NegativeCategory], text: str) -> NegativeCategory | None:
    wanted = folded(text)
    return next((each for each in categories if any(folded(entry.text) == wanted for entry in each.entries)), None)


def _read(path: Path) -> NegativeCategory:
    try:
        return read_category(path)
    except StorageError as error:
        return NegativeCategory(path.stem, Text(path.stem, path.stem), problem=error.text)
