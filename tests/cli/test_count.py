"""``generate`` of several pictures, sizes and variations, as plans and as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main


def test_one_command_makes_several_pictures(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", "tiny", "--models-dir", str(models_dir), "--out", str(tmp_path), "--alone", "--json"]
    small = ["--single-stage", "--size", "64x96", "--set", "stages.0.steps=1"]
    variation = ["--variation-seed", "3", "--variation-strength", "0.5"]
    assert main(["generate", "a boat", "--seed", "5", "--count", "2", *flags, *small, *variation]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["request"]["seed"] for each in made] == [5, 6]
    assert {(each["width"], each["height"], each["request"]["variation_strength"]) for each in made} == {(64, 96, 0.5)}
    assert len({each["path"] for each in made}) == 2
    assert all(Path(each["path"]).is_file() for each in made)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "big"], "--size: big: write WIDTHxHEIGHT"),
        (["--count", "0"], "--count: 0: must be a whole number from 1 to 100"),
        (["--variation-strength", "2"], "variation_strength: 2.0 must be at most 1"),
    ],
)
def test_what_is_out_of_bounds_names_the_flag(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a boat", "--model", "demo", "--alone", *flags]) == 2
    assert words in capsys.readouterr().err
