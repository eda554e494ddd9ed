"""The README is true: its commands run as they stand, its tree names every file, its options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools.tree import replaced

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if not language for line in text.splitlines() if line.startswith("p")]


def test_the_two_set_up_commands_are_there() -> None:
    assert "pip install -r requirements.txt && python app.py" in COMMANDS
    assert "pip install -r requirements-dev.txt && python -m pytest" in COMMANDS
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert (ROOT / name).is_file()


def test_the_tree_is_todays() -> None:
    assert replaced(README) == README, "run: python tools/tree.py --write"


def test_every_option_of_the_app_is_in_the_table() -> None:
    help_text = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"--[a-z]+", help_text)) - {"--help"}
    assert options
    assert options <= set(re.findall(r"--[a-z]+", README))


def test_the_pictures_exist() -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


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
    # Only what would open a window or write into the checkout is turned aside.
    example = example.replace("generated.image.show()", "assert generated.image.size == (672, 864)")
    example = example.replace("generated.save()", f"generated.save(__import__('pathlib').Path({str(tmp_path)!r}))")
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=True)
    seed, path = done.stdout.split()
    assert seed == "42"
    assert Path(path).is_file()
