"""The folder of a batch or a grid: pictures under the items' names, and the manifest's lines about them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from zimage_app.service.many.batch.items import Item
from zimage_app.service.many.batch.manifest import Manifest, comparable_name
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.storage.atomic_files import write_whole

_Item = TypeVar("_Item", bound=Item)


def unfinished_items(items: Sequence[_Item], manifest: Manifest) -> list[_Item]:
    """Return the items that still have to be made.

    If another item's picture has an item's name, as after entries were moved, the item gets a free name.
    """
    left = [item for item in items if not _is_done(item, manifest)]
    done = {item.key for item in items} - {item.key for item in left}
    held = {comparable_name(str(manifest.last[key]["file"])) for key in done}
    taken = held | {comparable_name(item.file_name) for item in left}
    for place, item in enumerate(left):
        if comparable_name(item.file_name) in held:
            left[place] = renamed = _renamed(item, taken)
            taken.add(comparable_name(renamed.file_name))
    return left


def count_replaced(items: Iterable[Item], manifest: Manifest) -> int:
    """Return how many existing files with other content these items will replace."""
    return sum(
        manifest.holders.get(comparable_name(item.file_name)) != item.key and picture_path(item, manifest).exists()
        for item in items
    )


def picture_path(item: Item, manifest: Manifest) -> Path:
    """Return the path of an item's picture, which may not exist yet."""
    return manifest.folder / item.file_name


def save_item(item: Item, saved: SavedPicture, manifest: Manifest) -> Path:
    """Link or copy a picture to its item's name and record it in the manifest; return its path.

    Raises:
        StorageError: the manifest can't be written.
        OSError: the picture can't be linked or copied.
    """
    path = picture_path(item, manifest)
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
    """Whether the item's picture is there, and no other one has been put in its place since."""
    line = manifest.last.get(item.key, {})
    name = str(line.get("file", ""))
    own = manifest.holders.get(comparable_name(name)) == item.key
    return own and line.get("state") == "done" and (manifest.folder / name).is_file()


def _renamed(item: _Item, taken: set[str]) -> _Item:
    named = (replace(item, name=f"{item.name}-{number}") for number in itertools.count(2))
    return next(each for each in named if comparable_name(each.file_name) not in taken)


def _link(saved: SavedPicture, path: Path) -> None:
    """Create a hard link to the picture, or a copy if the file system has no hard links."""
    path.unlink(missing_ok=True)
    try:
        os.link(saved.path, path)
    except OSError:
        write_whole(path, saved.read())
