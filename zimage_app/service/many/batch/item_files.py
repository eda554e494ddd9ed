"""The folder of a batch or a grid: pictures under the items' names, and the manifest's lines about them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from zimage_app.service.many.batch.items import Item
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.storage.atomic_files import write_whole

_Item = TypeVar("_Item", bound=Item)


def left_of(items: Iterable[_Item], manifest: Manifest) -> list[_Item]:
    """Return the items that still have to be made."""
    return [item for item in items if not _is_done(item, manifest)]


def file_of(item: Item, manifest: Manifest) -> Path:
    """Return the path of an item's picture, which may not exist yet."""
    return manifest.folder / f"{item.name}.png"


def save_item(item: Item, saved: SavedPicture, manifest: Manifest) -> Path:
    """Link or copy a picture to its item's name and record it in the manifest; return its path.

    Raises:
        StorageError: the manifest can't be written.
        OSError: the picture can't be linked or copied.
    """
    path = file_of(item, manifest)
    _link(saved, path)
    manifest.add(
        "done",
        item.key,
        index=item.index,
        id=item.id,
        file=path.name,
        picture=saved.record.id,
        seed=saved.record.request.seed,
        prompt=saved.record.request.full_prompt,
        seconds=saved.record.seconds,
        **({"text": item.text} if item.text else {}),
    )
    return path


def _is_done(item: Item, manifest: Manifest) -> bool:
    line = manifest.last.get(item.key)
    return line is not None and line["state"] == "done" and (manifest.folder / str(line["file"])).is_file()


def _link(saved: SavedPicture, path: Path) -> None:
    """Create a hard link to the picture, or a copy if the file system has no hard links."""
    path.unlink(missing_ok=True)
    try:
        os.link(saved.path, path)
    except OSError:
        write_whole(path, saved.read())
