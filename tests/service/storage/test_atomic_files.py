"""Files are replaced whole, on every kind of disk."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from zimage_app.service.storage.atomic_files import write_whole


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_file_counts_as_written_where_folders_can_not_be_synced(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on shared folders of virtual machines."""
    sync = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        sync(handle)

    monkeypatch.setattr("os.fsync", files_only)
    write_whole(tmp_path / "a.png", b"data")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"data")]


def test_a_file_that_can_not_be_synced_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(handle: int) -> None:
        del handle
        raise OSError(errno.EIO, "broken")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", refuses)
    with pytest.raises(OSError, match="broken"):
        write_whole(tmp_path / "a.png", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"old")]
