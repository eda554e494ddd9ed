"""The folder ``presets/`` as a library: list, load, save, rename, delete.

Shipped presets are in the folder itself and read-only; the user's own are in ``my/``. A broken file does not hide the
others.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.preset import Preset, checked
from zimage_app.domain.similar_names import similar_names
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import visible
from zimage_app.service.library.presets.file import SUFFIX, read_preset, write_preset
from zimage_app.service.storage.yaml_files import unwritable

MINE = "my"
"""The folder of the user's own presets."""
_MAX_NAME = 80
_MAX_BYTES = 250
"""Bytes of a name. File systems allow 255 with the suffix; some characters take four."""
_FORBIDDEN = frozenset('<>:"/\\|?*')
"""Characters that some system does not allow in a file's name."""
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Device names on Windows, which can't be file names."""
_MAX_CANDIDATES = 3


class PresetLibrary:
    """The presets of some folders. Thread-safe; without a cache, so that edits of the files take effect at once."""

    def __init__(self, folder: Path, *shipped: Path) -> None:
        self.folder = folder
        self._shipped = shipped
        self._lock = threading.Lock()

    def presets(self) -> tuple[Preset, ...]:
        """Shipped presets, then the user's own, each by name; broken ones too, with their ``problem``.

        Where two have the same name, the shipped one is used.
        """
        return tuple(_read(path, mine=mine) for path, mine in self._files().values())

    def load(self, name: str) -> Preset:
        """Load a preset by name.

        Raises:
            RequestError: there is none; lists similar names.
            StorageError: its file is invalid; says where.
        """
        preset = self._find(name)
        if preset is None:
            raise self._unknown(name)
        if preset.problem is not None:
            raise StorageError(preset.problem)
        return preset

    def save(self, name: str, settings: Mapping[str, Any], *, overwrite: bool = False) -> Preset:
        """Save settings under a name; ``overwrite`` replaces the settings of the user's preset, not its title and text.

        Raises:
            RequestError: a setting is out of bounds, or the name is not allowed or taken.
            StorageError: the file can't be written.
        """
        name = _name(name)
        settings = checked(settings)
        with self._lock:
            old = self._find(name)
            if old is not None and not (overwrite and old.mine):
                raise _taken(old)
            preset = Preset(name, Text(name, name), settings=settings, mine=True)
            if old is not None:
                preset = replace(old, settings=settings, problem=None)
            write_preset(self._path(preset.name), preset)
            return preset

    def rename(self, name: str, new: str) -> Preset:
        """Rename one of the user's presets.

        Raises:
            RequestError: there is none of that name, it ships with the app, or the new name is not allowed or taken.
            StorageError: the file is damaged, or can't be renamed.
        """
        new = _name(new)
        with self._lock:
            preset = self._own(name)
            other = self._find(new)
            if other is not None and _key(other.name) != _key(preset.name):
                raise _taken(other)
            if preset.problem is not None:
                raise StorageError(preset.problem)
            titled = preset.title == Text(preset.name, preset.name)
            renamed = replace(preset, name=new, title=Text(new, new) if titled else preset.title)
            if _key(new) == _key(preset.name):
                # Both names may be those of one file, which must not be written and then deleted.
                self._move(preset.name, new)
            write_preset(self._path(new), renamed)
            if _key(new) != _key(preset.name):
                self._unlink(preset.name)
            return renamed

    def delete(self, name: str) -> None:
        """Delete one of the user's presets.

        Raises:
            RequestError: there is none of that name, or it ships with the app.
            StorageError: the file can't be deleted.
        """
        with self._lock:
            self._unlink(self._own(name).name)

    # Parts.

    def _files(self) -> dict[str, tuple[Path, bool]]:
        """(file, whether it is the user's own) of every preset, by key."""
        found: dict[str, tuple[Path, bool]] = {}
        for folder in (*self._shipped, self.folder, self.folder / MINE):
            mine = folder == self.folder / MINE
            for path in visible(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
                found.setdefault(_key(path.stem), (path, mine))
        return found

    def _find(self, name: str) -> Preset | None:
        file = self._files().get(_key(name))
        return None if file is None else _read(file[0], mine=file[1])

    def _own(self, name: str) -> Preset:
        preset = self._find(name)
        if preset is None:
            raise self._unknown(name)
        if not preset.mine:
            raise _wrong(
                name,
                "comes with the app and stays as it is; save it under another name",
                "是自带预设，不能更改；请另存",
            )
        return preset

    def _path(self, name: str) -> Path:
        return self.folder / MINE / f"{name}{SUFFIX}"

    def _move(self, name: str, new: str) -> None:
        path = self._path(name)
        try:
            path.rename(self._path(new))
        except OSError as error:
            raise unwritable(path, error) from error

    def _unlink(self, name: str) -> None:
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error

    def _unknown(self, name: str) -> RequestError:
        names = [path.stem for path, _ in self._files().values()]
        near = similar_names(name, names, _MAX_CANDIDATES) or names
        listed = ", ".join(near)
        return _wrong(name, f"is no preset; there are {listed or 'none yet'}", f"不是预设；可用：{listed or '暂无'}")


def _read(path: Path, *, mine: bool) -> Preset:
    try:
        return read_preset(path, mine=mine)
    except StorageError as error:
        return Preset(path.stem, Text(path.stem, path.stem), mine=mine, problem=error.text)


def _key(name: str) -> str:
    """The name for comparisons: case-folded, because some file systems ignore case."""
    return name.strip().casefold()


def _name(text: str) -> str:
    """The stripped name; raises RequestError where it can't be a file's name."""
    name = text.strip()
    if not 1 <= len(name) <= _MAX_NAME:
        raise _wrong(
            name[:_MAX_NAME],
            f"must have 1 to {_MAX_NAME} characters",
            f"名称应为 1 到 {_MAX_NAME} 个字符",
        )
    awkward = name[0] == "." or name[-1] == "." or name.casefold().split(".")[0] in _RESERVED
    if awkward or not name.isprintable() or set(name) & _FORBIDDEN:
        listed = " ".join(sorted(_FORBIDDEN))
        raise _wrong(
            name,
            f"can't be a file's name; leave out {listed} and dots at the ends, and use a plain word",
            f"不能用作文件名；请勿使用 {listed}，首尾不要用点号，也不要用系统保留名",
        )
    if (size := len(name.encode())) > _MAX_BYTES:
        raise _wrong(
            name,
            f"takes {size} bytes, but a file's name may take {_MAX_BYTES}; shorten it",
            f"占 {size} 字节，而文件名最多 {_MAX_BYTES} 字节；请缩短",
        )
    return name


def _taken(preset: Preset) -> RequestError:
    if preset.mine:
        return _wrong(
            preset.name, "exists already; choose another name, or replace it", "已存在；请换一个名称或选择覆盖"
        )
    return _wrong(preset.name, "comes with the app; choose another name", "是自带预设的名称；请换一个名称")


def _wrong(name: str, en: str, zh: str) -> RequestError:
    return RequestError("preset", Text(f"{name!r} {en}", f"{name!r} {zh}"))
