"""What is tidied up at the start, and what is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zimage_app.service.diagnostics.housekeeping import TEMPORARY, CleanupCount, clean_up, start_cleanup
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.storage.atomic_files import write_whole
from zimage_app.web.middleware import private_folder


@pytest.fixture
def config(tmp_path: Path) -> StudioConfig:
    for name in ("outputs/2026-01-01", "outputs/.state", "outputs/.inputs", "presets/my", "loras", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    return StudioConfig(outputs=tmp_path / "outputs", presets=tmp_path / "presets", loras=tmp_path / "loras")


def put(path: Path, age: float = 7200.0, size: int = 10) -> Path:
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def gone_process() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_a_killed_app_was_writing_goes_and_pictures_stay(config: StudioConfig, tmp_path: Path) -> None:
    day = config.outputs / "2026-01-01"
    unfinished = [
        put(folder / ".x.png.0a1b2c3d.part")
        for folder in (config.outputs, day, config.outputs / ".inputs", config.presets / "my", config.loras)
    ]
    kept = [
        put(day / "x.png"),
        put(day / ".x.png.0a1b2c3d.part2"),
        put(day / "x.part"),
        put(day / ".y.0a1b2c3d.part", 5),
    ]
    assert clean_up(config, tmp_path / "temporary") == CleanupCount(5, 50)
    assert not any(path.exists() for path in unfinished)
    assert all(path.exists() for path in kept)


def test_what_is_called_unfinished_is_what_saving_leaves(
    config: StudioConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def killed(self: Path, target: Path) -> None:
        names.append(self.name)
        put(target.with_name(self.name))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        write_whole(config.outputs / "x.png", b"data")
    put(config.outputs / names[0])
    monkeypatch.undo()
    assert clean_up(config, tmp_path / "temporary").files == 1


def test_of_databases_set_aside_the_newest_three_stay(config: StudioConfig, tmp_path: Path) -> None:
    for number in range(5):
        put(config.state / f"queue.sqlite.broken-2026010{number}-000000")
    put(config.outputs / ".history.sqlite.broken-20250101-000000")
    put(config.state / "queue.sqlite")
    assert clean_up(config, tmp_path / "temporary").files == 2
    left = sorted(path.name for path in config.state.iterdir())
    assert left == ["queue.sqlite"] + [f"queue.sqlite.broken-2026010{number}-000000" for number in (2, 3, 4)]
    assert (config.outputs / ".history.sqlite.broken-20250101-000000").exists()


def test_temporary_folders_of_apps_that_are_gone_go(
    config: StudioConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (temporary / "other").mkdir()
    orphan = temporary / f"{TEMPORARY}-{gone_process()}-abc"
    orphan.mkdir()
    put(orphan / "upload.png", size=500)
    (temporary / f"{TEMPORARY}-x").mkdir()
    with private_folder():
        with tempfile.NamedTemporaryFile(delete=False) as left:
            assert Path(left.name).is_relative_to(temporary)
        assert clean_up(config, temporary) == CleanupCount(1, 500)
        assert len(list(temporary.iterdir())) == 3
    assert sorted(path.name for path in temporary.iterdir()) == ["other", f"{TEMPORARY}-x"]


def test_folders_that_are_not_there_are_no_matter(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    config = StudioConfig(outputs=nowhere, presets=nowhere, loras=nowhere)
    thread = start_cleanup(config)
    thread.join()
    assert clean_up(config, nowhere) == CleanupCount()
    assert not nowhere.exists()
