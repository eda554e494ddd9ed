"""A cache on disk of what was read from LoRA files, keyed by size and time, so that a big library opens at once.

The cache may be deleted: if it is missing, damaged or of another version, a new one is started, and write errors are
ignored. It holds only files of the last scan, so it doesn't grow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.library.loras.header import LoraHeader
from zimage_app.service.library.loras.metadata import LoraMetadata
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

VERSION: Literal[4] = 4
"""Increase it whenever a change of the code describes the same file differently."""
_MAX_FILE = 256 * 2**20
"""Bytes; far more than the app writes."""

Stamp = tuple[int, int]
"""(size in bytes, modification time in ns); a file with another stamp has changed."""


class CachedFile(BaseModel):
    """The cached details of one file."""

    model_config = ConfigDict(extra="forbid")

    stamp: Stamp
    contents: LoraHeader | None = None
    """The header of a LoRA."""
    said: LoraMetadata | None = None
    """The content of a companion file."""
    sha256: str | None = None


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[4]
    files: dict[str, CachedFile] = Field(default_factory=dict)


class Cache:
    """Cached details of files, by their path below the folder. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = _read(path)
        self._changed = False

    def of(self, name: str, stamp: Stamp) -> CachedFile:
        """The cached details of a file; empty where it is new or has changed."""
        known = self._files.get(name)
        if known is None or known.stamp != stamp:
            known = self._files[name] = CachedFile(stamp=stamp)
            self._changed = True
        return known

    def contents(self, name: str, stamp: Stamp, read: Callable[[], LoraHeader]) -> LoraHeader:
        """A LoRA's header; ``read`` is called where it is not cached."""
        known = self.of(name, stamp)
        if known.contents is None:
            known.contents, self._changed = read(), True
        return known.contents

    def said(self, name: str, stamp: Stamp, read: Callable[[], LoraMetadata]) -> LoraMetadata:
        """A companion's content; ``read`` is called where it is not cached."""
        known = self.of(name, stamp)
        if known.said is None:
            known.said, self._changed = read(), True
        return known.said

    def sha256(self, name: str, stamp: Stamp, read: Callable[[], str]) -> str:
        """A file's SHA-256; ``read`` is called where it is not cached."""
        known = self.of(name, stamp)
        if known.sha256 is None:
            known.sha256, self._changed = read(), True
        return known.sha256

    def keep_only(self, names: Iterable[str]) -> None:
        """Drop all files but ``names`` from the cache."""
        gone = self._files.keys() - set(names)
        for name in gone:
            del self._files[name]
        self._changed |= bool(gone)

    def save(self) -> None:
        """Write the cache to disk if it has changed; errors are logged and ignored."""
        if not self._changed:
            return
        try:
            write_whole(
                self._path, _Saved(version=VERSION, files=self._files).model_dump_json(exclude_defaults=True).encode()
            )
        except OSError as error:
            log.info("the cache %s could not be written: %s", self._path, error)
        self._changed = False


def _read(path: Path) -> dict[str, CachedFile]:
    try:
        return _Saved.model_validate_json(read_regular(path, _MAX_FILE)).files
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        log.info("the cache %s is begun anew: %s", path, type(error).__name__)
        return {}
