"""``plan``: what settings mean, on the terminal; nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main


def test_a_plan_says_what_the_settings_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", "demo", "--out", str(tmp_path), "--set", "stages.2.denoise=0.5", "--set", "stages.2.steps=10"]
    assert main(["plan", "a red boat", *flags]) == 0
    said = capsys.readouterr().out
    assert "Stage 3\n" in said
    assert "Steps: the last 10 of 20" in said
    assert "All stages: no run yet" in said
    assert list(tmp_path.iterdir()) == []


def test_a_plan_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "x", "--model", "demo", "--out", str(tmp_path), "--single-stage", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (stage,) = data["stages"]
    assert (stage["latent"], stage["seconds"], data["seconds"], data["model"]) == ([84, 108], None, None, "demo")


def test_what_is_not_allowed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "x", "--model", "demo", "--set", "stages.0.steps=900"]) == 2
    assert "stages.0.steps" in capsys.readouterr().err


def test_how_models_fit_into_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--memory", "12", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "z-image-turbo-bf16: " in said
    assert "7 of 30 blocks" in said
    assert "demo: " in said
    assert said.endswith("python -m zimage_app models fetch z-image-turbo-int8\n")
    assert main(["plan", "--memory", "12", "--out", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["suggested"] == "z-image-turbo-int8"
    assert data["models"]["z-image-turbo-int8"]["bytes"] < 12 * 2**30
    with pytest.raises(SystemExit):
        main(["plan", "--memory", "much"])
    assert "'much' must be a number of gigabytes from 1 to 1024" in capsys.readouterr().err
