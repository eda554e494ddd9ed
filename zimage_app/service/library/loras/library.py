"""The folder ``loras/`` as a library: listing, finding by name, hashes, thumbnails, notes. Independent of models.

Names can't lead outside the folder, because only files that a scan found have names. (Links that the user put into the
folder may point anywhere.)
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from zimage_app.domain.errors import LoadingCancelled, LoraError, system_reason
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.similar_names import similar_names
from zimage_app.domain.text import Text, listed, normalised
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.models.weights.lookalikes import MAX_BYTES, PICKLE, PICKLES
from zimage_app.service.library.loras.cache import Cache
from zimage_app.service.library.loras.entry import LoraEntry, entry_of
from zimage_app.service.library.loras.header import LoraHeader
from zimage_app.service.library.loras.scan import SUFFIX, LoraFiles, ScannedFile, readable, scan
from zimage_app.service.library.loras.sidecar import SIDECAR, Notes, read_notes, write_notes
from zimage_app.service.library.loras.thumbnails import thumbnail

CACHE_FILE = ".zimage-studio-library.json"
_MAX_CANDIDATES = 5
_BLOCK = 4 * 2**20
_REPORT_BYTES = 2**28
"""Bytes hashed between two progress messages; takes a second at most."""


_AT_HOME = (
    Text("there is no such LoRA in the loras folder", "loras 文件夹里没有这个 LoRA"),
    Text("put the file there or choose another name", "请把文件放进去，或换一个名称"),
)
_ON_PAGE = Text("there is no such LoRA on this page", "此页面没有这个 LoRA")


def _discard(text: Text) -> None:
    del text


class LoraLibrary:
    """The LoRAs of some folders. Thread-safe; the folders are scanned at the first call, not by the constructor."""

    def __init__(self, folder: Path, *shipped: Path, shared: bool = False) -> None:
        """``shared``: whether strangers choose the LoRAs, who can put no file into the folder."""
        self.folder = folder
        self._shared = shared
        self.folders = (folder, *shipped)
        """Where two LoRAs have the same name, the one in the earlier folder is used."""
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._entries: dict[str, LoraEntry] | None = None

    def entries(self, *, refresh: bool = False) -> tuple[LoraEntry, ...]:
        """Every LoRA, by name; broken ones too, with their ``problem``. ``refresh`` scans the folders again."""
        return tuple(self._index(refresh=refresh).values())

    def find(self, name: str) -> LoraEntry:
        """Find a LoRA by name.

        ``style/ink`` and ``style/ink.safetensors`` are paths below the folder; a bare ``ink`` is also looked for in
        the sub-folders when the folder itself has none.

        Raises:
            LoraError: no such file, several of that name, a broken file, or a name that would lead outside.
        """
        asked = _relative(name)
        entry = self._lookup(name, asked, refresh=False)
        if entry is None or not entry.path.is_file():  # the file may have been added or moved since the last scan
            entry = self._lookup(name, asked, refresh=True)
        if entry is None:
            raise self._not_found(name)
        if entry.problem is not None:
            raise _fault(name, entry.problem)
        return entry

    def find_by_part(self, name: str) -> str:
        """The full name of a LoRA from a part of it, as in ``ink`` for ``demo-ink-wash``.

        For names that a user types. Names in files and records are exact: use ``find`` for them.

        Raises:
            LoraError: as ``find``, and where several names contain the part.
        """
        try:
            return self.find(name).name
        except LoraError:
            part = name.strip().casefold()
            names = [each for each in self._index() if part and part in PurePosixPath(each).name.casefold()]
            if len(names) == 1:
                return self.find(names[0]).name
            raise

    def name_of(self, name: str) -> str:
        """A LoRA's full name; raises LoraError as ``find`` does."""
        return self.find(name).name

    def sha256(
        self, entry: LoraEntry, cancelled: Callable[[], bool] = lambda: False, tell: Callable[[Text], None] = _discard
    ) -> str:
        """SHA-256 of the file's current content, 64 hex digits; cached until the file changes.

        ``tell`` gets the progress with a big file.

        Raises:
            LoraError: the file can't be read.
            LoadingCancelled: ``cancelled`` returned True; it is called before each block.
        """
        try:
            status = entry.path.stat()
            stamp = (status.st_size, status.st_mtime_ns)
            name = self._cache_name(entry)
            with self._lock:
                known = self._opened().of(name, stamp).sha256
            if known is not None:
                return known
            digest = _hashed(entry, cancelled, tell)  # takes seconds for a big file, so without the lock
        except OSError as error:
            reason = system_reason(error)
            raise _fault(entry.name, Text(f"cannot be read ({reason})", f"无法读取（{reason}）")) from error
        with self._lock:
            cache = self._opened()
            cache.add_sha256(name, stamp, digest)
            cache.save()
        return digest

    def resolve_use(self, use: LoraUse, cancelled: Callable[[], bool] = lambda: False) -> tuple[LoraUse, Text | None]:
        """The use with its full name and its file's hash, and a warning where the hash differs from the given one.

        Raises:
            LoraError: as ``find`` and ``sha256``.
        """
        entry = self.find(use.name)
        digest = self.sha256(entry, cancelled)
        another = use.sha256 not in (None, digest)
        return (
            use.model_copy(update={"name": entry.name, "sha256": digest}),
            _another_file(entry.name, str(use.sha256), digest) if another else None,
        )

    def resolve_plan(
        self, plan: GenerationPlan, cancelled: Callable[[], bool]
    ) -> tuple[GenerationPlan, tuple[Text, ...]]:
        """Resolve the LoRAs of a plan as ``resolve_use`` does; return the plan, and the warnings about other hashes.

        Raises:
            LoraError: as ``resolve_use``.
        """
        pairs = [self.resolve_use(use, cancelled) if use.strength else (use, None) for use in plan.request.loras]
        request = plan.request.model_copy(update={"loras": tuple(use for use, _ in pairs)})
        return replace(plan, request=request), tuple(warning for _, warning in pairs if warning)

    def hash_files(
        self, uses: Iterable[LoraUse], tell: Callable[[Text], None], cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Hash the files of all LoRAs that are on, to fill the cache; raises as ``resolve_use`` does."""
        for use in uses:
            if use.strength:
                self.sha256(self.find(use.name), cancelled, tell)

    def known_sha256(self, entry: LoraEntry) -> str | None:
        """The cached hash, None where there is none; the file isn't read."""
        with self._lock:
            return self._opened().of(self._cache_name(entry), (entry.size, entry.modified)).sha256

    def thumbnail(self, name: str) -> bytes | None:
        """A small JPEG for a LoRA of the last scan; None where there is no picture."""
        entry = self._index().get(name)
        if entry is None or entry.thumbnail is None:
            return None
        try:
            modified = entry.thumbnail.stat().st_mtime_ns
        except OSError:
            return None
        return thumbnail(entry.thumbnail, modified)

    def write_notes(self, name: str, notes: Notes) -> LoraEntry:
        """Write the user's notes beside a LoRA; returns the updated entry.

        Raises:
            LoraError: there is no such LoRA, its folder can't be written to, or another kind of file already has the
                notes' name.
        """
        path = _notes_path(self.find(name))
        if path.is_file():
            read_notes(path)  # raises for a file that isn't notes, so that it is not overwritten
        write_notes(path, notes)
        return self._index(refresh=True)[self.find(name).name]

    # Parts.

    def _index(self, *, refresh: bool = False) -> dict[str, LoraEntry]:
        with self._lock:
            if self._entries is None or refresh:
                self._entries = self._look()
            return self._entries

    def _opened(self) -> Cache:
        """The cache, opened at the first call. Call with the lock held."""
        if self._cache is None:
            self._cache = Cache(self.folder / CACHE_FILE)
        return self._cache

    def _cache_name(self, entry: LoraEntry) -> str:
        folder = next(each for each in self.folders if entry.path.is_relative_to(each))
        return readable(entry.path.relative_to(folder).as_posix())

    def _look(self) -> dict[str, LoraEntry]:
        cache = self._opened()
        found = list({files.lora.name: files for folder in reversed(self.folders) for files in scan(folder)}.values())
        entries = (_read(files, cache) for files in found)
        index = {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name))}
        cache.keep_only(file.name for files in found for file in (files.lora, *files.companions))
        if self.folder.is_dir():
            cache.save()
        return index

    def _lookup(self, name: str, asked: PurePosixPath, *, refresh: bool) -> LoraEntry | None:
        index = self._index(refresh=refresh)
        path = asked.as_posix()
        short = path[: -len(SUFFIX)] if path.lower().endswith(SUFFIX) else path
        # The unstripped name first: a file's name may begin with a space.
        exact = index.get(name) or index.get(path) or index.get(short)
        if exact is not None or len(asked.parts) > 1:
            return exact
        files = [entry for full, entry in index.items() if PurePosixPath(full).name in (path, short)]
        if len(files) > 1:
            names = listed([entry.name for entry in files], _MAX_CANDIDATES)
            raise _fault(
                path,
                Text(
                    f"several LoRAs have this name ({names}); give the path below the loras folder",
                    f"有多个同名 LoRA（{names}）；请写出在 loras 文件夹下的路径",
                ),
            )
        return files[0] if files else None

    def _not_found(self, name: str) -> LoraError:
        short = name.strip().removesuffix(SUFFIX)
        known = {each: each for each in self._index()}
        known |= {PurePosixPath(each).name: each for each in reversed(known)}
        close = ", ".join(dict.fromkeys(known[each] for each in similar_names(short, known, _MAX_CANDIDATES)))
        place, cure = _AT_HOME
        if self._shared:
            some = ", ".join([*self._index()][:_MAX_CANDIDATES])
            place, cure = _ON_PAGE, Text("leave it out", "请将其移除")
            if some:
                cure = Text(f"choose one of those here, as {some}", f"请选择已有的 LoRA，如 {some}")
        if close:
            cure = Text(f"did you mean {close}?", f"是否指 {close}？")
        return _fault(name.strip(), Text(f"{place.en}; {cure.en}", f"{place.zh}；{cure.zh}"))


def _hashed(entry: LoraEntry, cancelled: Callable[[], bool], tell: Callable[[Text], None]) -> str:
    digest = hashlib.sha256()
    with open_regular(entry.path, MAX_BYTES) as file:
        while block := file.read(_BLOCK):
            if cancelled():
                raise LoadingCancelled
            digest.update(block)
            if file.tell() % _REPORT_BYTES == 0:
                done = f"{file.tell() / entry.size:.0%}"
                tell(Text(f"hashing LoRA {entry.name} ({done})", f"正在计算 LoRA {entry.name} 的哈希值（{done}）"))
    return digest.hexdigest()


def _another_file(name: str, wanted: str, found: str) -> Text:
    return Text(
        f"LoRA {name} is another file than the one in these settings ({found[:10]} instead of {wanted[:10]});"
        " the picture will differ.",
        f"LoRA {name} 与参数中记录的不是同一个文件（现为 {found[:10]}，原为 {wanted[:10]}），画面会有差异。",
    )


def _relative(name: str) -> PurePosixPath:
    """The name as a relative path; raises LoraError for a root, a drive, ``..`` or a pickle's suffix."""
    # Some systems decompose accented letters in file names (NFD); keyboards give composed ones (NFC).
    relative = PurePosixPath(normalised(name.strip(), "NFC").replace("\\", "/"))
    rooted = relative.is_absolute() or bool(PureWindowsPath(name.strip()).drive)
    if rooted or ".." in relative.parts or not relative.parts or "\0" in name:
        raise _fault(
            repr(name),
            Text(
                "is not a LoRA's name; give a file's path below the loras folder, without '..' or a leading '/'",
                "不是有效的 LoRA 名称；请填写 loras 文件夹下的相对路径，不含「..」，也不以「/」开头",
            ),
        )
    if relative.suffix.lower() in PICKLES:
        raise _fault(relative.name, PICKLE)
    return relative


def _read(files: LoraFiles, cache: Cache) -> LoraEntry:
    header = LoraHeader(problem=files.problem) if files.problem else cache.header(files.lora)
    companions = [cache.metadata(file) for file in files.companions]
    return entry_of(files, header, *_notes(files.notes), (header.said, *companions))


def _notes_path(entry: LoraEntry) -> Path:
    return entry.path.with_name(entry.path.name[: -len(SUFFIX)] + SIDECAR)


def _notes(file: ScannedFile | None) -> tuple[Notes, Text | None]:
    """Read the notes without the cache: they are few and short, and users edit them."""
    try:
        return (Notes() if file is None else read_notes(file.path)), None
    except LoraError as error:
        return Notes(), error.text


def _fault(name: str, reason: Text) -> LoraError:
    shown = name if len(name) <= 200 else f"{name[:199]}…"
    return LoraError(Text(f"{shown}: {reason.en}", f"{shown}：{reason.zh}"))
