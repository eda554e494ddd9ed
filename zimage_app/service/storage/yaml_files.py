"""YAML files in the user's folder: reading errors as StorageError, and atomic writes."""

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
    """Turn a YamlReader's ModelError into StorageError; the models package uses that reader too."""
    try:
        yield
    except ModelError as error:
        raise StorageError(error.text) from error


def write_yaml(path: Path, data: object) -> None:
    """Write plain data to a YAML file atomically; its folder is created where missing.

    Raises StorageError where the system refuses.
    """
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """The StorageError for a file that can't be written or deleted."""
    reason = system_reason(error)
    return StorageError(
        Text(
            f"{path.name} can't be written ({reason}); the folder must be writable and the disk not full.",
            f"{path.name} 无法写入（{reason}）；请检查文件夹权限和磁盘空间。",
        )
    )
