"""The README is true: its commands run as they stand, its options exist, its two languages say the same."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zimage_app.serve import parse_arguments

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
MAX_LINES = 280
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if not language for line in text.splitlines() if line.startswith("p")]


RUN = ("pip install -r requirements.txt", "python app.py")
_OPTION = re.compile(r"--[a-z]+(?:-[a-z]+)*(?![\w-])")
"""An option's whole name."""
TEST = "pip install -r requirements-dev.txt && python -m pytest -n auto --dist worksteal"


@contextmanager
def running(command: str) -> Iterator[subprocess.Popen[str]]:
    """A shell command as a user types it, with this Python's ``pip`` and ``python`` first on the path."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
    process = subprocess.Popen(
        command,
        shell=True,
        cwd=ROOT,
        env={**os.environ, "PATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        **group,
    )
    try:
        yield process
    finally:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.timeout(300)
def test_the_command_that_runs_the_app_runs_it() -> None:
    start = COMMANDS.index(RUN[0])
    assert tuple(COMMANDS[start : start + len(RUN)]) == RUN
    with running(" && ".join(RUN)) as process:
        assert process.stdout is not None
        printed: list[str] = []
        while not (printed and "http://" in printed[-1]):
            printed.append(process.stdout.readline())
            assert printed[-1], "".join(printed)
        address = re.search(r"http://[\d.]+:\d+", printed[-1])
        assert address is not None
        with urllib.request.urlopen(f"{address[0]}/health", timeout=30) as answer:
            assert json.load(answer) == {"status": "healthy", "service": "Z-Image Progressive Studio"}
        with urllib.request.urlopen(address[0], timeout=30) as answer:
            assert "Z-Image" in answer.read().decode()


def test_the_command_that_runs_the_tests_is_the_one_that_ci_runs() -> None:
    assert TEST in COMMANDS
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().splitlines()[-1].replace(" --quiet", "") == TEST


def options_in(text: str) -> set[str]:
    """Whole flags: ``--log-json``, never ``--log`` for it. A switch's ``--no-…`` is its other side."""
    return {name for name in _OPTION.findall(text) if not name.startswith("--no-")}


def test_the_table_of_options_has_those_that_the_app_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    help_text = capsys.readouterr().out
    table = [line for line in (ROOT / "docs" / "OPTIONS.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    named = options_in("\n".join(line.split("|")[1].replace("\\", "|") for line in table))
    assert {"--log-json", "--auth-file", "--port"} <= named
    assert named == options_in(help_text) - {"--help"}


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_it_is_short(text: str) -> None:
    assert len(text.splitlines()) <= MAX_LINES


def test_both_languages_say_the_same() -> None:
    """As far as that can be counted: headings, commands, rows of tables, and where links lead."""
    english, chinese = (outline(text) for text in (README, CHINESE))
    assert len(english["headings"]) >= 8
    assert english == chinese


def outline(text: str) -> dict[str, list[str]]:
    """What of a page is the same in every language."""
    prose = re.sub(r"^```.*?^```", "", text[text.index("# Z-Image") :], flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", prose)
    return {
        "headings": re.findall(r"^(#+) ", prose, re.MULTILINE),
        "commands": re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL),
        "tables": [str(line.replace("\\|", "").count("|")) for line in prose.splitlines() if line.startswith("|")],
        "links": sorted(link for link in links if not link.startswith("README")),
        "options": sorted(options_in(prose)),
    }


@pytest.mark.timeout(300)
def test_the_command_line_runs_as_written(tmp_path: Path) -> None:
    command = next(line for line in COMMANDS if "zimage_app generate" in line)
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:], "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path)
    assert path.is_file()


@pytest.mark.timeout(300)
def test_the_python_example_runs_as_written(tmp_path: Path) -> None:
    example = next(text for language, text in BLOCKS if language == "python")
    assert "generated.image.show()" in example
    # Only what would open a window, write into the checkout or take long is turned aside; the command line's test makes
    # the picture with all of its steps.
    few_steps = "tuple(stage.model_copy(update={'steps': 1}) for stage in generator.card.stages)"
    example = example.replace("seed=42", f"seed=42, stages={few_steps}")
    example = example.replace("generated.image.show()", "assert generated.image.size == (672, 864)")
    example = example.replace("generated.save()", f"generated.save(__import__('pathlib').Path({str(tmp_path)!r}))")
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=True)
    seed, path = done.stdout.split()
    assert seed == "42"
    assert Path(path).is_file()
