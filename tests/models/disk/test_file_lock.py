"""Lock files where the file system has locks, and where it has none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from zimage_app.models.disk.file_lock import take
from zimage_app.models.hub.fetch import _download_lock
from zimage_app.service.jobs.folder_lock import FolderLock, running_app

fcntl = pytest.importorskip("fcntl")


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system refuse every lock with this error."""

    def flock(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK])
def test_where_there_are_no_locks_it_goes_on_without(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, number)
    FolderLock(tmp_path).acquire()
    assert "app.lock: the file system has no locks" in caplog.text
    assert running_app(tmp_path) is None
    with _download_lock(tmp_path / "model"):
        pass


def test_an_old_filelock_says_it_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert not take(FileLock(tmp_path / "lock"))


def test_other_errors_and_other_holders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(tmp_path / "lock")
    assert take(lock)
    with pytest.raises(Timeout):
        take(FileLock(tmp_path / "lock"))
    lock.release()
    refuse(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="refused"):
        take(lock)
