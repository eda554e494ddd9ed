"""``import`` and ``generate --from`` with other programs' files, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.imports.test_imports import DATA
from zimage_app.cli.main import main
from zimage_app.service.pictures.gallery import read_record

INFOTEXT = (
    "a boat\nNegative prompt: fog\nSteps: 2, Sampler: DPM++ 2M Karras, CFG scale: 2, Seed: 7, Size: 64x80, Clip skip: 2"
)


@pytest.fixture
def infotext(tmp_path: Path) -> Path:
    path = tmp_path / "settings.txt"
    path.write_text(INFOTEXT, encoding="utf-8")
    return path


def test_the_three_lists_are_shown(infotext: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(infotext)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "Settings of A1111/Forge"
    assert [line for line in lines if not line.startswith(" ")][1:] == ["Taken:", "Translated:", "Not carried over:"]
    assert "  Stage 1, Sampler: DPM++ 2M Karras → dpmpp_2m + karras" in lines
    assert "  Clip skip: 2 has no equivalent in this app" in lines


def test_a_chinese_system_is_answered_in_chinese(
    infotext: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["import", str(infotext)]) == 0
    printed = capfd.readouterr().out
    assert "未带入:" in printed
    assert "阶段 1，采样器：DPM++ 2M Karras → dpmpp_2m + karras" in printed


def test_json_holds_settings_that_a_request_takes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    places = ["--loras", str(tmp_path)]
    assert main(["import", str(DATA / "reference_api.json"), "--json", *places]) == 0
    data = json.loads(capfd.readouterr().out)
    assert (data["source"], data["exact"], len(data["settings"]["stages"])) == ("ComfyUI", False, 3)
    assert any("there is no such LoRA" in line for line in data["left"])
    again = tmp_path / "settings.json"
    again.write_text(json.dumps(data["settings"]), encoding="utf-8")
    assert main(["import", str(again), "--json", *places]) == 0
    assert json.loads(capfd.readouterr().out)["settings"] == data["settings"]
    again.write_text(json.dumps(data), encoding="utf-8")
    assert main(["import", str(again), "--json", *places]) == 0
    assert json.loads(capfd.readouterr().out)["settings"] == data["settings"]


@pytest.mark.parametrize("kept", [lambda data: data, lambda data: data["settings"]])
def test_what_import_prints_is_what_generate_takes(
    kept: Callable[[dict[str, Any]], object], infotext: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(infotext), "--json"]) == 0
    again = tmp_path / "again.json"
    again.write_text(json.dumps(kept(json.loads(capfd.readouterr().out))), encoding="utf-8")
    assert main(["generate", "--from", str(again), "--model", "demo", "--json", "--out", str(tmp_path)]) == 0
    made = json.loads(capfd.readouterr().out)
    request = made["request"]
    assert "identical" not in made  # there is no picture to compare with
    assert (request["prompt"], request["seed"], request["stages"][0]["width"]) == ("a boat", 7, 64)


def test_a_start_picture_that_is_only_named_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = {"source": "x", "exact": False, "model": "", "settings": {"prompt": "a"}, "taken": [], "left": []}
    path = tmp_path / "named.json"
    path.write_text(json.dumps(data | {"start": {"file": "boat.png", "settings": {"stage": 1}}}), encoding="utf-8")
    assert main(["import", str(path), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["start"]["file"] == "boat.png"
    path.write_text(json.dumps(data | {"start": {"file": 3}}), encoding="utf-8")
    assert main(["import", str(path)]) == 2
    assert "start" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["import"], ["generate", "--from"]])
def test_a_file_without_settings_is_status_2_and_one_sentence(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shopping.txt"
    path.write_text("milk, eggs", encoding="utf-8")
    assert main([*command, str(path)]) == 2
    error = capfd.readouterr().err
    assert "shopping.txt holds no settings" in error
    assert len(error.splitlines()) == 1


def test_a_picture_is_made_from_others_settings(
    infotext: Path, models_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", str(models_dir / "tiny"), "--out", str(tmp_path / "out")]
    assert main(["generate", "--from", str(infotext), *places]) == 0
    printed = capfd.readouterr()
    assert "Clip skip: 2 has no equivalent in this app" in printed.err
    assert "pixel" not in printed.err
    request = read_record(Path(printed.out.strip())).request
    assert request.stages is not None
    (stage,) = request.stages
    assert (request.prompt, request.negative, request.seed) == ("a boat", "fog", 7)
    assert (stage.sampler, stage.scheduler, stage.steps, stage.width, stage.height) == ("dpmpp_2m", "karras", 2, 64, 80)
