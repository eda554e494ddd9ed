"""A cache on disk of what was read from LoRA files, keyed by size and time, so that a big library opens at once.

The cache may be deleted: if it is missing, damaged or of another version, a new one is started, and write errors are
ignored. It holds only files of the last scan, so it doesn't grow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.library.loras.header import LoraHeader, read_header
from zimage_app.service.library.loras.metadata import LoraMetadata, read_companion
from zimage_app.service.library.loras.scan import ScannedFile, Stamp
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

VERSION: Literal[4] = 4
"""Increase it whenever a change of the code describes the same file differently."""
_MAX_FILE = 256 * 2**20
"""Bytes; far more than the app writes."""


class CachedFile(BaseModel):
    """The cached details of one file."""

    model_config = ConfigDict(extra="forbid")

    stamp: Stamp
    header: LoraHeader | None = Field(default=None, alias="contents")
    metadata: LoraMetadata | None = Field(default=None, alias="said")
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

    def header(self, file: ScannedFile) -> LoraHeader:
        """A LoRA's header, from the file if it isn't cached."""
        known = self.of(file.name, file.stamp)
        if known.header is None:
            known.header, self._changed = read_header(file.path), True
        return known.header

    def metadata(self, file: ScannedFile) -> LoraMetadata:
        """A companion's content, from the file if it isn't cached."""
        known = self.of(file.name, file.stamp)
        if known.metadata is None:
            known.metadata, self._changed = read_companion(file.path), True
        return known.metadata

    def add_sha256(self, name: str, stamp: Stamp, digest: str) -> None:
        """Add a file's SHA-256."""
        self.of(name, stamp).sha256, self._changed = digest, True

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
            saved = _Saved(version=VERSION, files=self._files)
            write_whole(self._path, saved.model_dump_json(by_alias=True, exclude_defaults=True).encode())
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
