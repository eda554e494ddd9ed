"""A JSON note beside downloaded files with their source, sizes and checksums. Needs no network access."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.hub.listing import Checksum, RepoFile, RepoListing, is_inside
from zimage_app.models.hub.transfer import feed

NAME = ".fetched.json"
_MAX_BYTES = 16 * 2**20
"""Maximum size of a note in bytes."""
_WRITING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a file that was downloaded earlier."""

    path: Path
    state: str
    """``right``, ``wrong`` or ``missing``."""


def note(folder: Path, host: str, listing: RepoListing, file: RepoFile) -> None:
    """Record that a file was downloaded and verified. Thread-safe."""
    with _WRITING:
        data = _read(folder)
        files = data.setdefault("files", {})
        checksum = "" if file.checksum is None else f"{file.checksum.kind}:{file.checksum.value}"
        files[file.path] = {"size": file.size, "checksum": checksum}
        data |= {"source": host, "repo": listing.repo, "revision": listing.revision}
        fresh = folder / f"{NAME}.new"
        fresh.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(fresh, folder / NAME)


def check(folder: Path, stopped: threading.Event) -> Iterator[Checked]:
    """Reread and verify every file recorded in a folder's note; raises Stopped when ``stopped`` is set."""
    for name, item in sorted(_read(folder).get("files", {}).items()):
        path = folder / name
        if not is_inside(name) or not isinstance(item, dict):
            continue
        if not path.is_file():
            yield Checked(path, "missing")
            continue
        kind, _, value = str(item.get("checksum", "")).partition(":")
        expected = Checksum("git-sha1" if kind == "git-sha1" else "sha256", value) if value else None
        size = path.stat().st_size
        same = size == item.get("size") and checksum_of(path, size, expected, stopped) == expected
        yield Checked(path, "right" if same else "wrong")


def checksum_of(path: Path, size: int, like: Checksum | None, stopped: threading.Event) -> Checksum | None:
    """Compute a file's checksum of the same kind as ``like``; None if ``like`` is None."""
    if like is None:
        return None
    hasher = like.hasher(size)
    feed(hasher, path, stopped)
    return Checksum(like.kind, hasher.hexdigest())


def _read(folder: Path) -> dict[str, Any]:
    """Return the note's content; empty if it is missing or unreadable."""
    try:
        data = json.loads(read_regular(folder / NAME, _MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and isinstance(data.get("files", {}), dict) else {}
