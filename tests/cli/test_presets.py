"""Presets on the command line: listed, shown, kept, compared, used."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.test_main import QUICK
from zimage_app.cli import presets as command
from zimage_app.cli.main import build_parser, main
from zimage_app.cli.presets import preset_model
from zimage_app.cli.request_flags import build_request
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError
from zimage_app.domain.preset import Preset
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.setup.config import StudioConfig

SHIPPED = StudioConfig().presets


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the presets that ship, to write beside them."""
    folder = tmp_path / "presets"
    folder.mkdir()
    for path in SHIPPED.glob("*.yaml"):
        shutil.copy(path, folder)
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(command, "config_of", lambda: dataclasses.replace(StudioConfig(), presets=folder))
    return folder


def generate(*flags: str) -> argparse.Namespace:
    return build_parser().parse_args(["generate", *flags])


def preset(folder: Path, name: str) -> Preset:
    return PresetLibrary(folder).load(name)


def test_all_are_listed_broken_ones_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("stages: 3\n", encoding="utf-8")
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("turbo-1024 ") and "model, stages" in line for line in lines)
    assert any(line.startswith("bad ") and "bad.yaml, line 1, column 9" in line for line in lines)
    assert main(["presets", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["zimage-api-121104"]["settings"]["lora_strength"] == 0.8
    assert (listed["turbo-1024"]["problem"], listed["turbo-1024"]["mine"]) == (None, False)


def test_one_is_shown_as_yaml_that_gives_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "show", "zimage-121101"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == preset(folder, "zimage-121101").settings


def test_one_is_kept_renamed_and_deleted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "stages.1.denoise=0.5", "--set", "negative=模糊"]
    assert main(["presets", "save", "我的", "--from", "zimage-121101", *changes]) == 0
    assert capsys.readouterr().err == "Saved as 我的.\n"
    stages = preset(folder, "我的").stages
    assert stages is not None
    assert (stages[1].denoise, preset(folder, "我的").settings["negative"]) == (0.5, "模糊")
    assert main(["presets", "save", "我的", "--from", "demo"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["presets", "save", "我的", "--from", "demo", "--replace"]) == 0
    assert main(["presets", "rename", "我的", "你的"]) == 0
    assert [path.name for path in (folder / "my").iterdir()] == ["你的.yaml"]
    assert main(["presets", "delete", "turbo-1024"]) == 2
    assert main(["presets", "delete", "你的"]) == 0
    assert list((folder / "my").iterdir()) == []
    for bad in (["--set", "stages=5"], ["--set", "colour=1"], ["--set", "x"]):
        assert main(["presets", "save", "x", "--from", "demo", *bad]) == 2


def test_two_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "diff", "turbo-1024", "turbo-1024"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["presets", "diff", "zimage-121101", "zimage-api-121104", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"setting": "lora_strength", "preset": "1", "other": "0.8"}]
    assert main(["presets", "diff", "turbo-1024", "quick-single-stage"]) == 1
    out = capsys.readouterr().out
    assert "Stage 1: Width" in out
    assert "Steps" not in out
    assert main(["presets", "diff", "turbo-1024", "none"]) == 2


def test_a_preset_comes_before_the_flags(folder: Path) -> None:
    def made(name: str, *flags: str) -> dict[str, object]:
        request = build_request(generate("a boat", *flags), Z_IMAGE_TURBO, preset(folder, name))
        return request.model_dump(mode="json")

    PresetLibrary(folder).save(
        "full",
        {"prompt": "雪山", "negative": "模糊", "triggers": ["水墨"], "loras": [{"name": "ink"}], "seed": 5},
    )
    full = made("full")
    assert (full["prompt"], full["negative"], full["triggers"], full["seed"]) == ("a boat", "模糊", ["水墨"], 5)
    more = made("full", "--seed", "9", "--trigger", "雪", "--lora", "demo-snow", "--negative-preset", "水印")
    assert (more["negative"], more["triggers"], more["seed"]) == ("模糊，水印", ["水墨", "雪"], 9)
    assert [use["name"] for use in more["loras"]] == ["ink", "demo-snow"]  # type: ignore[attr-defined]
    assert made("full", "--negative", "别的")["negative"] == "别的"
    assert build_request(generate(), Z_IMAGE_TURBO, preset(folder, "full")).prompt == "雪山"
    with pytest.raises(RequestError, match="PROMPT: is missing"):
        build_request(generate(), Z_IMAGE_TURBO, preset(folder, "demo"))
    uses = made("zimage-api-121104", "--lora", "ink", "--lora", "snow=0.3", "--set", "stages.0.steps=5")
    assert [use["strength"] for use in uses["loras"]] == [0.8, 0.3]  # type: ignore[attr-defined]
    assert uses["stages"][0]["steps"] == 5  # type: ignore[index]
    assert len(made("zimage-121101", "--single-stage")["stages"]) == 1  # type: ignore[arg-type]


def test_the_model_is_the_presets_unless_the_usual_one_is_of_that_kind(folder: Path) -> None:
    turbo = preset(folder, "turbo-1024")
    copy = dataclasses.replace(Z_IMAGE_TURBO, name="my-turbo")
    assert preset_model(turbo, copy) is None
    assert preset_model(turbo, dataclasses.replace(copy, family="")) == "z-image-turbo"
    assert preset_model(None, copy) is None
    assert preset_model(Preset("x", turbo.title), copy) is None


def test_names_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a boat", "--preset", "turba-1024"]) == 2
    assert "--preset: 'turba-1024' is no preset; there are turbo-1024" in capsys.readouterr().err
    assert main(["generate", "--from", "x.png", "--preset", "demo"]) == 2
    assert "--from: makes a picture again as it was" in capsys.readouterr().err


def test_a_pictures_settings_become_a_preset_and_are_compared(
    folder: Path, models_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ["--model", str(models_dir / "tiny"), "--out", str(tmp_path / "out")]
    assert main(["generate", "a boat", "--negative", "模糊", "--seed", "3", *QUICK, *out]) == 0
    path = capfd.readouterr().out.strip()
    assert main(["presets", "save", "like it", "--from", path]) == 0
    assert set(preset(folder, "like it").settings) == {"model", "negative", "stages"}
    assert main(["presets", "save", "whole", "--from", path, "--prompt"]) == 0
    assert preset(folder, "whole").settings["prompt"] == "a boat"
    capfd.readouterr()
    assert main(["presets", "diff", "whole", path]) == 0
    assert main(["generate", "--preset", "whole", *out]) == 0
    again = capfd.readouterr().out.strip()
    assert main(["presets", "diff", "whole", again]) == 0
    assert Path(again).name != Path(path).name
