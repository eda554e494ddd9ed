"""The queue on the command line: listed in turn, cancelled, cleared; a folder without one stays without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main
from zimage_app.service.config import StudioConfig
from zimage_app.service.jobs import Job, JobQueue
from zimage_app.service.limits import HOME


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three jobs of two owners, the first of them running."""
    monkeypatch.setenv("LC_ALL", "C")
    queue = JobQueue(StudioConfig(outputs=tmp_path).state)
    for name, owner in (("a0", "a"), ("a1", "a"), ("b0", "b")):
        queue.add(Job(name, owner, "demo", json.dumps({"prompt": f"[red] 船\n{name}"}), 1.0), HOME)
    queue.claim()
    queue.close()
    return tmp_path


def listed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    capsys.readouterr()
    assert main(["jobs", "--json", "--outputs", str(outputs)]) == 0
    return [(each["job"], each["state"]) for each in json.loads(capsys.readouterr().out)]


def test_they_are_listed_in_turn(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--outputs", str(outputs)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [["a0", "running"], ["b0", "waiting"], ["a1", "waiting"]]
    assert lines[0][3:] == ["[red]", "船", "a0"]
    assert listed(outputs, capsys) == [("a0", "running"), ("b0", "waiting"), ("a1", "waiting")]


def test_one_is_cancelled_and_the_running_one_told_to_stop(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "cancel", "b0", "a0", "--outputs", str(outputs)]) == 0
    said = capsys.readouterr().err
    assert "b0 is taken out." in said
    assert "a0 is being stopped." in said
    assert listed(outputs, capsys) == [("a0", "running"), ("a1", "waiting")]
    assert main(["jobs", "cancel", "b0", "--outputs", str(outputs)]) == 0
    assert "b0 is over already." in capsys.readouterr().err
    assert main(["jobs", "cancel", "nobody", "--outputs", str(outputs)]) == 2
    assert "nobody is not in the queue" in capsys.readouterr().err


def test_all_that_wait_are_taken_out(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--outputs", str(outputs), "clear"]) == 0
    assert "2 waiting jobs taken out." in capsys.readouterr().err
    assert listed(outputs, capsys) == [("a0", "running")]


def test_without_a_queue_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["jobs", "--outputs", str(tmp_path)]) == 0
    assert "队列为空。" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
