"""Wildcards on the command line: listed, shown, tried out, and drawn by ``generate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def test_lists_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wildcards"]) == 0
    assert "__weather__  18 (Weather)  clear blue sky, thin high clouds, scattered clouds…" in capsys.readouterr().out
    assert main(["wildcards", "--json"]) == 0
    assert {"name": "天气", "lines": 18, "about": "天气"} in json.loads(capsys.readouterr().out)
    assert main(["wildcards", "__Weather__"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["clear blue sky", "thin high clouds"]


def test_a_prompt_is_tried_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wildcards", "--try", "{a|b} __time__", "--seed", "7", "--count", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "30 combinations\n"
    lines = printed.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["7", "8", "9"]
    assert main(["wildcards", "--try", "{a|b} __time__", "--seed", "8", "--count", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"combinations": 30, "drawn": [{"seed": 8, "prompt": lines[1].split("  ", 1)[1]}]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tme"], "NAME: there is no wildcard __tme__; there are time"),
        (["--try", "{a|"], "--try: {a| the choice is not closed"),
        (["--try", "__nowhere__"], "--try: there is no wildcard __nowhere__"),
    ],
)
def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(["wildcards", *arguments]) == 2
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize("arguments", [["--seed", "x"], ["--count", "0"]])
def test_numbers_out_of_bounds_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["wildcards", "--try", "x", *arguments])
    assert "must be a whole number from" in capsys.readouterr().err


def test_generate_draws_and_makes_the_same_again(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [
        "--single-stage",
        *(part for knob in ("steps=2", "width=64", "height=64") for part in ("--set", f"stages.0.{knob}")),
    ]
    common = ["--model", str(models_dir / "tiny"), "--out", str(tmp_path), "--json"]
    assert main(["generate", "a {red|blue} __animal__", "--seed", "4", *quick, *common]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["request"]["template"]["prompt"] == "a {red|blue} __animal__"
    assert "_" not in made["request"]["prompt"]
    assert main(["generate", "--from", made["path"], *common]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["identical"] is True
    assert again["request"] == made["request"]
    assert main(["generate", "a __nowhere__ boat", *quick, *common]) == 2
    assert "prompt: there is no wildcard __nowhere__" in capsys.readouterr().err
