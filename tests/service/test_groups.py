"""Groups that are kept: finished by the next app where the first one was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.service.quick import MODEL, PATIENCE, QuickStudio, plan_of, quick_request, record_of
from zimage_app.domain.errors import GenerationError, StorageError
from zimage_app.domain.text import Text
from zimage_app.service import groups as module
from zimage_app.service.group_orders import BatchInput, Requester, plan_batch, start
from zimage_app.service.groups import GroupItem, GroupRecord, Groups, GroupView, Kind, new_group_id
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView
from zimage_app.service.many.batch.reading import batch_of
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.permissions import owner_mark


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


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.01)


def picture(path: Path, data: bytes | None = None) -> SavedPicture:
    return SavedPicture(path, record_of(plan_of(quick_request(1)), MODEL), data)


def ended(
    outputs: Path, view: Callable[[str], JobView | None], name: str = "a", kind: Kind = "batch"
) -> tuple[GroupView, dict[str, Any]]:
    """Follow a group of one job until it is finished; return it, and the last line of its manifest."""
    with closing(Groups(outputs, view)) as groups:
        item = GroupItem(1, "1", "key", name, "", "job", (0, 0, 0))
        labels = (("",), ("",), ("",))
        group = GroupRecord(new_group_id(), kind, "t", "", "g", datetime.now().astimezone(), (item,), labels)
        groups.save(group)
        end = time.monotonic() + PATIENCE
        while (found := groups.find(group.id, lambda _: True)) is None or not found.finished:
            assert time.monotonic() < end
            time.sleep(0.005)
    (path,) = outputs.glob(f"*/{group.id}/manifest.jsonl")
    return found, json.loads(path.read_text(encoding="utf-8").splitlines()[-1])


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("view", "name", "words"),
    [
        (None, "a", ("no longer knows", "没有这个任务")),
        (JobView("job", "", MODEL, state=JobState.DONE), "a", ("was deleted", "已被删除")),
        (
            JobView("job", "", MODEL, state=JobState.DONE, picture=picture(Path("none.png"))),
            "a",
            ("was deleted", "删除"),
        ),
        (
            JobView("job", "", MODEL, state=JobState.DONE, picture=picture(Path("none.png"), b"png")),
            "猫" * 90,
            ("can't be written (File name too long)", "无法写入"),
        ),
        (
            JobView("job", "", MODEL, state=JobState.FAILED, error=GenerationError(Text("Too hot.", "太热。"))),
            "a",
            ("Too hot.", "太热。"),
        ),
    ],
)
def test_what_no_retry_can_help_has_failed(
    view: JobView | None, name: str, words: tuple[str, str], tmp_path: Path
) -> None:
    found, line = ended(tmp_path, lambda _: view, name)
    assert (found.failed, line["state"]) == (1, "failed")
    assert words[0] in line["error"]
    assert words[1] in line["error_zh"]


@pytest.mark.usefixtures("_quick")
def test_a_queue_that_cannot_be_read_yet_is_waited_for(tmp_path: Path) -> None:
    closed = StorageError(Text("jobs.sqlite can't be opened yet.", "暂时无法打开 jobs.sqlite。"))
    cancelled = JobView("job", "", MODEL, state=JobState.CANCELLED)
    answers: Iterator[JobView | StorageError] = iter([closed, closed, cancelled])

    def view(_: str) -> JobView:
        answer = next(answers)
        if isinstance(answer, StorageError):
            raise answer
        return answer

    assert ended(tmp_path, view)[1]["state"] == "cancelled"


@pytest.mark.usefixtures("_quick")
def test_a_grid_with_a_damaged_picture_ends_without_sheets(tmp_path: Path) -> None:
    done = JobView("job", "", MODEL, state=JobState.DONE, picture=picture(tmp_path / "none", b"no picture"))
    found, _ = ended(tmp_path, lambda _: done, kind="grid")
    assert (found.done, found.files) == (1, ("manifest.jsonl",))


def test_jobs_without_a_group_are_cancelled_whatever_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(QuickStudio(tmp_path)) as studio:
        studio.start()
        studio.pause_queue(True)
        requester = Requester("", MODEL)
        many = plan_batch(studio, BatchInput("t", batch_of(["a", "b"]), {}, 1), requester)

        def fail(_: GroupRecord) -> None:
            raise ValueError("not foreseen")

        monkeypatch.setattr(studio.groups, "save", fail)
        with pytest.raises(ValueError, match="not foreseen"):
            start(studio, many, requester)
        assert studio.queue().waiting == 0


def test_groups_of_others_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(QuickStudio(tmp_path)) as studio:
        for owner in "aab":
            many = plan_batch(studio, BatchInput("", batch_of(["a boat"]), {}, 1), Requester(owner * 32, MODEL))
            start(studio, many, Requester(owner * 32, MODEL))
        reads: list[Path] = []
        read = module._read

        def counted(folder: Path) -> GroupRecord | None:
            reads.append(folder)
            return read(folder)

        monkeypatch.setattr(module, "_read", counted)
        own = owner_mark("b" * 32)
        for count in (3, 1):
            reads.clear()
            assert [view.record.owner for view in studio.groups.newest(own.__eq__, 20)] == [own]
            assert len(reads) == count
