"""The queue on the command line, with and without a running app; a folder without one stays without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running_app import announced
from tests.service.quick import quick_request
from tests.ui.doubles import QuickPageStudio
from zimage_app.cli.app_client import _lines
from zimage_app.cli.main import main
from zimage_app.service.jobs.state import JobEvent
from zimage_app.service.jobs.store import Job, JobStore
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import StudioConfig


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three waiting jobs of two owners."""
    monkeypatch.setenv("LC_ALL", "C")
    with closing(JobStore(StudioConfig(outputs=tmp_path).state)) as store:
        for name, owner in (("a0", "a"), ("a1", "a"), ("b0", "b")):
            request = json.dumps({"prompt": f"[red] 船\n{name}"})
            store.add([Job(name, owner, "demo", request, 1.0, group=owner)], PRIVATE_LIMITS)
    return tmp_path


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuickPageStudio]:
    """A running app, paused, behind a password: its user's own programs need none."""
    monkeypatch.setenv("LC_ALL", "C")
    with closing(QuickPageStudio(tmp_path)) as studio, announced(studio):
        studio.pause_queue(True)
        yield studio


def listed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    capsys.readouterr()
    assert main(["jobs", "--json", "--outputs", str(outputs)]) == 0
    return [(each["job"], each["state"]) for each in json.loads(capsys.readouterr().out)]


def test_they_are_listed_in_turn(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--outputs", str(outputs)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [["a0", "waiting"], ["b0", "waiting"], ["a1", "waiting"]]
    assert lines[0][3:] == ["[red]", "船", "a0"]


def test_jobs_are_cancelled_alone_and_as_a_group(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--outputs", str(outputs)]
    assert main(["jobs", "cancel", "b0", *place]) == 0
    assert "b0 was cancelled." in capsys.readouterr().err
    assert main(["jobs", "cancel", "b0", *place]) == 0
    assert "b0 is over already." in capsys.readouterr().err
    assert main(["jobs", "cancel", "nobody", *place]) == 2
    assert "nobody is not in the queue" in capsys.readouterr().err
    assert main(["jobs", "cancel", *place]) == 2
    assert "one of them must be given" in capsys.readouterr().err
    assert main(["jobs", "cancel", "--group", "a", *place]) == 0
    assert listed(outputs, capsys) == []


def test_the_queue_is_reordered_paused_and_cleared(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--outputs", str(outputs)]
    assert main(["jobs", "up", "a1", "--first", *place]) == 0
    assert [job for job, _ in listed(outputs, capsys)] == ["a1", "b0", "a0"]
    assert main(["jobs", "pause", *place]) == 0
    assert main(["jobs", *place]) == 0
    assert "The queue is paused" in capsys.readouterr().err
    assert main(["jobs", "resume", *place]) == 0
    assert main(["jobs", *place, "clear"]) == 0
    assert "3 waiting jobs were cancelled." in capsys.readouterr().err
    assert main(["jobs", "up", "a1", *place]) == 2
    assert "doesn't wait any more" in capsys.readouterr().err


def test_an_interrupted_job_waits_again(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(JobStore(StudioConfig(outputs=outputs).state)) as store:
        store.refresh()
        assert store.apply(["a0"], JobEvent.CLAIM)
    assert listed(outputs, capsys)[0] == ("a0", "waiting")


def test_without_a_queue_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["jobs", "--outputs", str(tmp_path)]) == 0
    assert "队列为空。" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_running_app_is_asked(app: QuickPageStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    place = ["--outputs", str(outputs)]
    jobs = [app.submit(quick_request(seed), "quick", "somebody", group="g" * (seed > 1)) for seed in range(4)]
    assert [job for job, _ in listed(outputs, capsys)] == jobs
    assert main(["jobs", "up", jobs[1], *place]) == 0
    assert main(["jobs", "cancel", jobs[0], *place]) == 0
    assert main(["jobs", "cancel", "--group", "g", *place]) == 0
    assert [view.id for view in app.jobs("", shared=False)] == [jobs[1]]
    assert main(["jobs", "cancel", "nobody", *place]) == 2
    assert main(["jobs", "clear", *place]) == 0
    assert main(["jobs", "resume", *place]) == 0
    assert app.queue().paused is False
    assert main(["jobs", "pause", *place]) == 0
    assert app.queue().paused is True
    assert main(["jobs", "up", jobs[1], *place]) == 2


def test_a_picture_is_made_by_the_running_app(
    app: QuickPageStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app.pause_queue(False)
    outputs, request = tmp_path / "outputs", ["generate", "船", "--seed", "7", "--single-stage", "--set"]
    command = [*request, "stages.0.steps=2", "--out", str(outputs)]
    assert main([*command, "--model", "demo", "--json"]) == 1, "the app has another"
    assert "no model demo" in capsys.readouterr().err
    assert main([*command, "--device", "cpu"]) == 2
    assert "--device: can't be told to the app" in capsys.readouterr().err
    app.default_model = "demo"
    app.generators["demo"] = app.generators["quick"]
    app.card = lambda name: app.cards()[0]  # type: ignore[method-assign]  # noqa: ARG005
    assert main([*command, "--model", "demo", "--json"]) == 0
    said = capsys.readouterr()
    assert "Made by the app running at http://127.0.0.1:" in said.err
    record = json.loads(said.out)
    assert (record["request"]["seed"], record["request"]["prompt"]) == (7, "船")
    assert Path(record["path"]).is_relative_to(outputs)
    assert app.queue().running == 0


def test_the_doctor_shows_the_runners_of_a_running_app(
    app: QuickPageStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--outputs", str(tmp_path / "outputs")])
    assert "✓ Runner local auto: free\n" in capsys.readouterr().out
    app.pause_queue(False)
    app.step_seconds = 60.0
    job = app.submit(quick_request(1), "quick", "a" * 32)
    view = app.wait(job, -1, 1.0)
    while view.state != "running":
        view = app.wait(job, view.version, 1.0)
    main(["doctor", "--outputs", str(tmp_path / "outputs")])
    assert f"✓ Runner local auto: at work on {job}\n" in capsys.readouterr().out
    app.step_seconds = 0.0


def test_only_line_feeds_end_the_lines_of_a_stream() -> None:
    pieces = ['data: "a\u2028', 'b"\n\nda', "ta: 1\n", "data: cut"]
    assert list(_lines(pieces)) == ['data: "a\u2028b"', "", "data: 1"]
