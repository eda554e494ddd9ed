"""Only regular files are read, as far as was meant; a pipe keeps nobody waiting."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.odd_files import sparse
from zimage_app.models.disk.regular_file import open_regular, read_regular

if os.name != "posix":
    pytest.skip("folders hold no pipes here", allow_module_level=True)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, device, listening])
def test_what_is_no_regular_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(OSError, match=r"regular file|Is a directory|No such device"):
        read_regular(tmp_path / "a", 100)


def test_a_file_is_read_through_a_link_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", 5) == b"12345"
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"12345"
    with pytest.raises(OSError, match="larger than 1 MB"):
        read_regular(tmp_path / "b", 4)
    with pytest.raises(OSError, match="larger than 64 MB"):
        read_regular(sparse(tmp_path / "c", 50 * 2**30), 64 * 2**20)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 5)
