"""Hand-written YAML files of the user's folder: errors of reading them, and writing them whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from zimage_app.domain.errors import ModelError, StorageError, system_reason
from zimage_app.domain.text import Text
from zimage_app.service.storage.atomic_files import write_whole


@contextmanager
def reading() -> Iterator[None]:
    """Errors of a YamlReader, which is the models' too, as those of storage."""
    try:
        yield
    except ModelError as error:
        raise StorageError(error.text) from error


def write_yaml(path: Path, data: object) -> None:
    """Write plain data into a file, whole or not at all; its folder is made where it is missing.

    Raises StorageError where the system doesn't let us.
    """
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """A file that the system doesn't let us write or take away."""
    reason = system_reason(error)
    return StorageError(
        Text(
            f"{path.name} can't be written ({reason}); the folder must be writable and the disk not full.",
            f"{path.name} 无法写入（{reason}）；请检查文件夹权限和磁盘空间。",
        )
    )
