"""``batch``: killed in the middle and run again, nothing twice and nothing missing; in a process and by the app."""

from __future__ import annotations

import errno
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.running_app import announced
from tests.models.lora_support import low_rank, write
from tests.service.quick import PATIENCE, QuickStudio
from zimage_app.cli.main import main
from zimage_app.domain.events import Event, StageStarted
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig

COUNT = 40


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def tweets(folder: Path, count: int) -> Path:
    posts = [
        {"id": f"post{number}", "text": f"第 {number} 条", "image_prompt": f"a boat {number}"}
        for number in range(count)
    ]
    path = folder / "tweets.json"
    persona = {"name": "小美", "trigger_word": "xiaomei", "negative_prompt": "模糊"}
    path.write_text(json.dumps({"persona": persona, "tweets": posts}), encoding="utf-8")
    return path


def manifest(folder: Path) -> list[dict[str, Any]]:
    """The lines of the manifest that were written whole."""
    path = folder / "outputs" / "batches" / "tweets" / "manifest.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def done(folder: Path) -> list[dict[str, Any]]:
    return [line for line in manifest(folder) if line["state"] == "done"]


def small(models_dir: Path, folder: Path) -> list[str]:
    """A picture in some tens of milliseconds."""
    places = ["--models-dir", str(models_dir), "--outputs", str(folder / "outputs"), "--model", "tiny"]
    return [*places, "--single-stage", "--size", "64x64", "--set", "stages.0.steps=1", "--alone"]


def test_a_batch_that_was_killed_goes_on_where_it_was(models_dir: Path, tmp_path: Path) -> None:
    arguments = ["batch", str(tweets(tmp_path, COUNT)), *small(models_dir, tmp_path)]
    command = [sys.executable, "-m", "zimage_app", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as program:
        end = time.monotonic() + PATIENCE
        while len(done(tmp_path)) < COUNT // 3:
            assert program.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        program.kill()  # SIGKILL
    before = done(tmp_path)
    assert COUNT // 3 <= len(before) < COUNT
    assert main(arguments) == 0
    after = done(tmp_path)
    assert after[: len(before)] == before
    assert sorted(line["index"] for line in after) == list(range(1, COUNT + 1)), "nothing twice, nothing missing"
    assert sorted(line["seed"] for line in after) == list(range(after[0]["seed"], after[0]["seed"] + COUNT))
    pictures = list((tmp_path / "outputs").glob("2*/*.png"))
    assert {path.stem for path in pictures} == {line["picture"] for line in after}
    for line in after:
        record = read_record(tmp_path / "outputs" / "batches" / "tweets" / line["file"])
        assert record.id == line["picture"]
        assert record.request.full_prompt == line["prompt"] == f"xiaomei, a boat {line['index'] - 1}"
        assert line["text"] == f"第 {line['index'] - 1} 条"
    assert main(arguments) == 0
    assert done(tmp_path) == after


def test_ctrl_c_stops_after_a_step_and_the_next_run_goes_on(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["batch", str(tweets(tmp_path, 12)), *small(models_dir, tmp_path)]

    def press() -> None:
        end = time.monotonic() + PATIENCE
        while len(done(tmp_path)) < 3 and time.monotonic() < end:
            time.sleep(0.005)
        signal.raise_signal(signal.SIGINT)

    usual = signal.getsignal(signal.SIGINT)
    finger = threading.Thread(target=press)
    finger.start()
    assert main(arguments) == 130
    finger.join()
    assert signal.getsignal(signal.SIGINT) is usual
    assert "run again to go on" in capsys.readouterr().err
    before = done(tmp_path)
    assert 3 <= len(before) < 12
    assert main(arguments) == 0
    assert sorted(line["index"] for line in done(tmp_path)) == list(range(1, 13))


def test_a_picture_that_was_saved_just_before_the_end_is_not_made_again(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["batch", str(tweets(tmp_path, 2)), *small(models_dir, tmp_path)]
    assert main(command) == 0
    path = tmp_path / "outputs" / "batches" / "tweets" / "manifest.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["state"] == "done"
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert main(command) == 0
    assert "1 done already, 1 to make now" in capsys.readouterr().err
    assert len(list((tmp_path / "outputs").glob("2*/*.png"))) == 2
    assert len(done(tmp_path)) == 2


class _Gone(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        del text
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_batch_goes_on_where_nobody_reads_its_output(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", _Gone())
    assert main(["batch", str(tweets(tmp_path, 2)), *small(models_dir, tmp_path)]) == 141
    assert len(done(tmp_path)) == 2


def test_what_changed_is_made_anew_and_the_limit_holds(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.txt"
    path.write_text("red\nblue\ngreen\n", encoding="utf-8")
    command = ["batch", str(path), *small(models_dir, tmp_path), "--seed", "5"]
    assert main([*command, "--limit", "2"]) == 0
    assert [line["id"] for line in done(tmp_path)] == ["1", "2"]
    path.write_text("red\nblack\ngreen\n", encoding="utf-8")
    assert main([*command, "--shuffle"]) == 0
    assert sorted((line["id"], line["prompt"]) for line in done(tmp_path)[2:]) == [("2", "black"), ("3", "green")]
    assert "1 done already, 2 to make now" in capsys.readouterr().err
    assert read_record(tmp_path / "outputs/batches/tweets/002-2-6.png").request.prompt == "black"


def test_what_a_run_warns_of_is_told_once(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loras").mkdir()
    tensors = low_rank("diffusion_model.layers.0.attention.to_v", (64, 64))
    write(tmp_path / "loras", tensors | {"lora_te_x.lora_down.weight": torch.zeros(1)}, "ink")
    more = ["--loras", str(tmp_path / "loras"), "--lora", "ink"]
    assert main(["batch", str(tweets(tmp_path, 3)), *small(models_dir, tmp_path), *more]) == 0
    assert capsys.readouterr().err.count("lora_te_x") == 1
    assert len(done(tmp_path)) == 3


def test_files_of_one_name_in_two_folders_have_two_folders_of_pictures(models_dir: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prompts.txt").write_text(f"boat {name}\n", encoding="utf-8")
        command = ["batch", str(tmp_path / name / "prompts.txt"), *small(models_dir, tmp_path), "--seed", "5"]
        assert main(command) == 0
        assert main(command) == 0, "it finds its folder again"
    paths = sorted((tmp_path / "outputs" / "batches").glob("prompts*/001-1-5.png"))
    assert [read_record(path).request.prompt for path in paths] == ["boat a", "boat b"]
    assert len(list((tmp_path / "outputs").glob("2*/*.png"))) == 2


def test_what_is_made_with_nag_is_made_anew_and_told_to_replace(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.txt"
    path.write_text("red\n", encoding="utf-8")
    command = ["batch", str(path), *small(models_dir, tmp_path), "--seed", "5", "--negative", "blue", "--dry-run"]
    assert main(command[:-1]) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "Replaces" not in capsys.readouterr().err
    assert main([*command, "--nag"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("001-1-5.png")
    assert "0 done already, 1 to make now" in told.err
    assert re.search(r"Replaces files .*: 1;", told.err)


def test_a_place_that_cannot_be_written_is_a_sentence(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.txt"
    path.write_text("red\n", encoding="utf-8")
    place = tmp_path / "outputs" / "batches" / "tweets" / "001-1-5.png"
    place.mkdir(parents=True)
    assert main(["batch", str(path), *small(models_dir, tmp_path), "--seed", "5"]) == 1
    assert f"{place} can't be written (" in capsys.readouterr().err
    place.rmdir()
    assert main(["batch", str(path), *small(models_dir, tmp_path), "--seed", "5"]) == 0
    assert len(list((tmp_path / "outputs").glob("2*/*.png"))) == 1


def test_a_folder_that_cannot_be_locked_is_a_sentence(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "to"
    (place / ".lock").mkdir(parents=True)
    command = ["batch", str(tweets(tmp_path, 1)), *small(models_dir, tmp_path), "--to", str(place)]
    assert main(command) == 1
    assert f"{place} can't be written (" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(tweets(tmp_path, 2)), *small(models_dir, tmp_path), "--seed", "7", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "001-post0-7.png  64x64  7  xiaomei, a boat 0",
        "002-post1-8.png  64x64  8  xiaomei, a boat 1",
    ]
    assert "2 pictures: 0 done already, 2 to make now." in told.err
    assert "own seeds" not in told.err
    assert main(["batch", str(tmp_path / "tweets.json"), *small(models_dir, tmp_path), "--dry-run"]) == 0
    assert "Without --seed the run draws its own seeds." in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_the_flags_of_a_batch(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("x\ny\n", encoding="utf-8")
    (tmp_path / "negative.txt").write_text("blurry,\nlow quality", encoding="utf-8")
    flags = ["--stages", "2", "--seed-mode", "fixed", "--seed", "3", "--trigger-word", "ink"]
    more = ["--negative-prompt-file", str(tmp_path / "negative.txt"), "--name", "{seed}-{index}"]
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path / "out"), "--model", "tiny"]
    assert main(["batch", str(path), *places, *flags, *more, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3-1.png  96x112  3  ink, x",
        "3-2.png  96x112  3  ink, y",
    ]
    for wrong, words in (
        (["--stages", "9"], "--stages: 9: must be from 1 to"),
        (["--limit", "0"], "--limit: 0: must be at least 1"),
        (["--negative-prompt-file", str(tmp_path / "none")], "--negative-prompt-file"),
        (["--lora", "none"], "none"),
    ):
        assert main(["batch", str(path), *places, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_that_is_taken_out_of_the_queue_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    command = ["batch", str(tweets(tmp_path, 3)), "--outputs", str(outputs), "--model", "demo", "--single-stage"]
    with closing(QuickStudio(outputs)) as studio:

        def take_out(event: Event) -> None:
            if isinstance(event, StageStarted) and "a boat 1" in event.stage.text:
                studio.cancel(studio.jobs("", shared=False)[0].id)

        studio.generator.failure = take_out
        with announced(studio):
            assert main(command) == 1
            assert "Taken out of the app's queue." in capsys.readouterr().err
            ends = [line for line in manifest(tmp_path) if line["state"] not in ("begun", "asked")]
            assert [(line["index"], line["state"]) for line in ends] == [(1, "done"), (2, "cancelled"), (3, "done")]
            assert (ends[1]["error"], ends[1]["error_zh"]) == (
                "Taken out of the app's queue.",
                "已从程序的队列中移除。",
            )
            studio.generator.failure = None
            assert main(command) == 0
    assert sorted(line["index"] for line in done(tmp_path)) == [1, 2, 3]


class _Watched(QuickStudio):
    """Notes when a watcher has been told that nothing has changed."""

    def __init__(self, outputs: Path) -> None:
        super().__init__(outputs)
        self.quiet = threading.Event()

    async def watch(self, job_id: str, seconds: float) -> AsyncIterator[JobView]:
        version = -1
        async for view in super().watch(job_id, seconds):
            yield view
            if view.version == version:
                self.quiet.set()
            version = view.version


@pytest.fixture
def app(tmp_path: Path) -> Iterator[_Watched]:
    """A running app with a paused queue."""
    with closing(_Watched(tmp_path / "outputs")) as studio, announced(studio):
        studio.pause_queue(True)
        yield studio


def test_ctrl_c_takes_a_waiting_picture_out_of_the_apps_queue(app: _Watched, tmp_path: Path) -> None:
    ended, still_waiting = threading.Event(), threading.Event()

    def press() -> None:
        app.quiet.wait(PATIENCE)
        signal.raise_signal(signal.SIGINT)
        if not ended.wait(PATIENCE / 4):
            still_waiting.set()
            app.pause_queue(False)

    finger = threading.Thread(target=press)
    finger.start()
    status = main(["batch", str(tweets(tmp_path, 2)), "--outputs", str(tmp_path / "outputs"), "--model", "demo"])
    ended.set()
    finger.join()
    assert status == 130
    assert not still_waiting.is_set()
    assert app.jobs("", shared=False) == ()


@pytest.mark.parametrize("command", ["batch", "generate"])
def test_an_app_that_ends_keeps_what_it_accepted(
    app: _Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    def close() -> None:
        app.quiet.wait(PATIENCE)
        app.close()

    thread = threading.Thread(target=close)
    thread.start()
    what = str(tweets(tmp_path, 1)) if command == "batch" else "a boat"
    assert main([command, what, "--outputs", str(tmp_path / "outputs"), "--model", "demo"]) == 1
    thread.join()
    assert "The app ended; the picture stays in its queue" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["batch", "generate"])
def test_a_model_that_the_app_would_take_for_another_is_refused(
    app: _Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    app.pause_queue(False)
    other = tmp_path / "demo"
    other.mkdir()
    (other / "model_index.json").write_text("{}", encoding="utf-8")
    what = str(tweets(tmp_path, 1)) if command == "batch" else "a boat"
    arguments = [command, what, "--outputs", str(tmp_path / "outputs"), "--single-stage", "--model"]
    assert main([*arguments, str(other)]) == 2
    assert f"--model: {other} is not the model that the app" in capsys.readouterr().err
    assert app.jobs("", shared=False) == ()
    assert main([*arguments, str(StudioConfig().models / "demo")]) == 0


def test_the_running_app_makes_it_and_a_task_of_before_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    command = ["batch", str(tweets(tmp_path, 3)), "--outputs", str(outputs), "--model", "demo", "--single-stage"]
    with closing(QuickStudio(outputs)) as studio, announced(studio):
        assert main(command) == 0
        path = outputs / "batches" / "tweets" / "manifest.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["state"] for line in lines[-2:]] == ["asked", "done"]
        path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
        assert main(command) == 0
        assert "Made by the app running at" in capsys.readouterr().err
        assert main([*command, "--device", "cpu", "--seed", "1"]) == 2
    assert [line["index"] for line in done(tmp_path)] == [1, 2, 3]
    assert len(list(outputs.glob("2*/*.png"))) == 3


@pytest.mark.parametrize("restarted", [False, True])
def test_a_picture_of_the_app_that_was_deleted_is_made_anew(tmp_path: Path, restarted: bool) -> None:
    outputs = tmp_path / "outputs"
    command = ["batch", str(tweets(tmp_path, 1)), "--outputs", str(outputs), "--model", "demo", "--single-stage"]
    path = outputs / "batches" / "tweets" / "manifest.jsonl"

    def forget() -> None:
        """The batch was killed before it noted the picture, and somebody deleted the picture."""
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
        for picture in outputs.glob("2*/*.png"):
            picture.unlink()

    with closing(QuickStudio(outputs)) as studio, announced(studio):
        assert main(command) == 0
        if not restarted:
            forget()
            assert main(command) == 0
    if restarted:  # a new app knows the task from its queue's file only
        forget()
        with closing(QuickStudio(outputs)) as studio, announced(studio):
            assert main(command) == 0
    assert len(done(tmp_path)) == 1
    assert len(list(outputs.glob("2*/*.png"))) == 1
