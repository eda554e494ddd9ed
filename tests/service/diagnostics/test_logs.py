"""The log: a line for each event, traces in the file only, bounded, no prompts where they are nobody's business."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.log_state import kept_logging
from tests.service.records import a_record
from zimage_app.domain.errors import GenerationError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics import logs
from zimage_app.service.diagnostics.logs import LogSettings, log_event, log_folder, start_logging, without_prompts
from zimage_app.service.jobs.job_log import JobTimes, log_job
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView, StageView

log = logging.getLogger("zimage_app.test")

STAGES = (StageView(0, 176, 224, 9, 9, 1.25), StageView(1, 336, 432, 6, 6, 1.5))
VIEW = JobView("1a2b", "", "demo", state=JobState.DONE, stages=STAGES)
PROMPT = '夕阳下的 "小船"\nboat'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with kept_logging():
        yield


def begun(folder: Path, **settings: object) -> io.StringIO:
    screen = io.StringIO()
    start_logging(replace(LogSettings(folder), **settings), screen)  # type: ignore[arg-type]
    return screen


def written(folder: Path) -> list[str]:
    return (log_folder(folder) / logs.FILE_NAME).read_text("utf-8").splitlines()


def fail() -> None:
    raise ValueError("first\nsecond")


def test_an_error_is_one_line_on_the_terminal_and_has_its_trace_in_the_file(tmp_path: Path) -> None:
    screen = begun(tmp_path)
    try:
        fail()
    except ValueError:
        log.exception("job 1\nfailed")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ERROR job 1 ⏎ failed \(ValueError: first\)\n", screen.getvalue()
    )
    lines = written(tmp_path)
    assert lines[0] == screen.getvalue().rstrip("\n")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "second"


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_that_of_the_app_and_others_only_warn(tmp_path: Path, level: str, seen: int) -> None:
    screen = begun(tmp_path, level=level)
    before = screen.getvalue().count("\n")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("%s", name)
    logging.getLogger("other").info("nothing")
    assert screen.getvalue().count("\n") - before == seen


def test_a_job_is_told_with_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = begun(tmp_path)
    monkeypatch.setattr(time, "monotonic", lambda: 110.0)
    log_job(VIEW, GenerationRequest(prompt=PROMPT), JobTimes(100.0, 104.0, 106.5), private=False)
    assert screen.getvalue().rstrip("\n").split(" INFO ")[1] == (
        "job 1a2b: done model=demo size=336x432 steps=9+6 queued=4.00 load=2.50 stages=1.25+1.50 other=0.75 total=6.00"
        ' prompt="夕阳下的 \\"小船\\"\\nboat"'
    )


def test_a_job_that_the_app_s_end_cut_short_is_told_as_put_back(tmp_path: Path) -> None:
    screen = begun(tmp_path)
    log_job(replace(VIEW, state=JobState.RUNNING), None, JobTimes(1.0, 2.0, 3.0), private=False)
    assert "job 1a2b: put back into the queue model=demo" in screen.getvalue()


def test_a_job_that_failed_while_loading_says_why_and_has_no_stage_times(tmp_path: Path) -> None:
    screen = begun(tmp_path)
    failed = replace(VIEW, state=JobState.FAILED, error=GenerationError(Text("no memory", "内存不足")))
    log_job(failed, None, JobTimes(1.0, 2.0, None), private=False)
    line = screen.getvalue()
    assert "job 1a2b: failed" in line
    assert 'error="no memory"' in line
    assert "load=" not in line
    assert "prompt" not in line


@pytest.mark.parametrize("as_json", [False, True])
def test_where_strangers_share_the_app_no_line_says_what_was_asked(tmp_path: Path, as_json: bool) -> None:
    screen = begun(tmp_path, as_json=as_json)
    failed = replace(VIEW, state=JobState.FAILED, error=GenerationError(Text("of boat", "小船")))
    log_job(failed, GenerationRequest(prompt=PROMPT), JobTimes(1.0, 2.0, 3.0), private=True)
    text = screen.getvalue() + "\n".join(written(tmp_path))
    assert "GenerationError" in text
    assert "boat" not in text
    assert "小船" not in text


def test_in_json_each_line_is_an_object(tmp_path: Path) -> None:
    screen = begun(tmp_path, as_json=True)
    record = a_record()
    log_job(replace(VIEW, picture=None), record.request, JobTimes(1.0, 2.0, 3.0), private=False)
    try:
        fail()
    except ValueError:
        log.exception("oh")
    first, second = map(json.loads, screen.getvalue().splitlines())
    assert (first["level"], first["message"], first["steps"]) == ("info", "job 1a2b: done", [9, 6])
    assert first["prompt"] == record.request.prompt
    assert second["error"] == "ValueError: first"
    assert "trace" not in second
    assert "in fail" in json.loads(written(tmp_path)[-1])["trace"]


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 2000)
    begun(tmp_path)
    for number in range(200):
        log.info("line %d %s", number, "x" * 50)
    files = sorted(log_folder(tmp_path).iterdir())
    assert [file.name for file in files] == ["studio.log", "studio.log.1", "studio.log.2"]
    assert sum(file.stat().st_size for file in files) <= 3 * 2000
    assert "line 199 " in written(tmp_path)[-1]


def test_without_a_file_the_terminal_says_so_once_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / logs.FOLDER).write_text("not a folder")
    screen = begun(tmp_path)
    log.info("one")
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert "there is no log file" in lines[0]


def test_a_disk_that_fills_up_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", *arguments[:0])

    screen = begun(tmp_path)
    (file,) = (each for each in logging.getLogger().handlers if isinstance(each, logging.handlers.RotatingFileHandler))
    monkeypatch.setattr(file.stream, "write", full, raising=False)
    log.info("one")
    log.info("two")
    assert screen.getvalue().count("can't be written any more") == 1
    assert " two" in screen.getvalue()


def test_a_thread_s_end_is_logged(tmp_path: Path) -> None:
    screen = begun(tmp_path)
    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    assert "thread worker ended (ValueError: first)" in screen.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_prompts_are_taken_out_of_lines_wherever_they_stand(tmp_path: Path, as_json: bool) -> None:
    begun(tmp_path, as_json=as_json)
    log_job(VIEW, GenerationRequest(prompt=PROMPT), JobTimes(1.0, 2.0, 3.0), private=False)
    log_job(VIEW, GenerationRequest(prompt="cat"), JobTimes(1.0, 2.0, 3.0), private=False)
    log.warning("cannot read %r: %s", "x", PROMPT)
    log.warning("a category")
    clean = without_prompts(written(tmp_path))
    assert len(clean) == 4
    assert "小船" not in "".join(clean)
    assert "prompt=" not in "".join(clean)
    assert "<prompt>" in clean[2]
    assert clean[3].endswith(("a category", '"a category"}'))


@pytest.mark.parametrize("as_json", [False, True])
def test_hidden_characters_are_escaped(tmp_path: Path, as_json: bool) -> None:
    """U+009B begins a terminal's command, U+0085 and U+2028 a line, U+202E turns the reading round."""
    hidden = "\x9b\x85\u2028\u202e\u2066\x1b[31m"
    screen = begun(tmp_path, as_json=as_json)
    log.warning("asked for %s", hidden)
    log_event(log, "job", {"prompt": f"夕阳 {hidden}"})
    for line in (*screen.getvalue().split("\n"), *written(tmp_path)):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line)
    assert "\\u009b\\u0085\\u2028\\u202e\\u2066" in screen.getvalue()
    assert "夕阳" in screen.getvalue()
    assert not any("\\u202e" in line for line in without_prompts(written(tmp_path)[-1:]))
