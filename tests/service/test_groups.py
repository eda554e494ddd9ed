"""Groups that are kept: finished by the next app where the first one was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.service.quick import PATIENCE, QuickStudio
from zimage_app.service.groups import GroupView


def kept(studio: QuickStudio, group_id: str) -> GroupView:
    """A group, whoever asked for it."""
    view = studio.groups.find(group_id, lambda _: True)
    assert view is not None
    return view


def test_a_killed_app_still_lays_the_sheet_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.service.quick", str(tmp_path), "grid", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        group_id = program.stdout.readline().strip()
        manifest, end = tmp_path / "grids" / group_id / "manifest.jsonl", time.monotonic() + PATIENCE
        while not manifest.is_file():
            assert time.monotonic() < end
            time.sleep(0.005)
        program.kill()  # SIGKILL
    with closing(QuickStudio(tmp_path)) as studio:
        assert not kept(studio, group_id).finished
        studio.start()
        while not (view := kept(studio, group_id)).finished:
            assert time.monotonic() < end
            time.sleep(0.005)
    assert (view.done, view.failed, view.cancelled) == (8, 0, 0)
    assert view.files == ("sheet-1.png", "index.html", "manifest.jsonl")
    assert len(list(tmp_path.glob("2*/*.png"))) == len(list(manifest.parent.glob("x*.png"))) == 8
