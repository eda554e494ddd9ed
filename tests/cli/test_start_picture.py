"""``--picture``: image-to-image on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.service.imports.test_kinds import graph_of
from zimage_app.cli.main import main
from zimage_app.service.generation.start_pictures import FOLDER


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.effect_mandelbrot((120, 90), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(path)
    return path


def make(models_dir: Path, tmp_path: Path, *flags: str) -> list[str]:
    places = ["--models-dir", str(models_dir), "--out", str(tmp_path / "out"), "--model", "tiny", "--json"]
    return ["generate", *flags, *places]


def test_a_picture_starts_at_a_stage_and_can_be_made_again(
    models_dir: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(make(models_dir, tmp_path, "boat", "--picture", str(photo), "--at", "2", "--fit", "stretch")) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["request"]["start"]["stage"] == 2
    assert first["request"]["start"]["fit"] == "stretch"
    assert [stage["number"] for stage in first["stages"]] == [1, 2]
    kept = tmp_path / "out" / FOLDER / first["request"]["start"]["picture"]
    assert kept.read_bytes() == photo.read_bytes()
    photo.unlink()
    assert main(make(models_dir, tmp_path, "--from", first["path"])) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True
    kept.unlink()
    assert main(make(models_dir, tmp_path, "--from", first["path"])) == 2
    assert "start.picture: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["boat", "--picture", "missing.png"], "--picture: missing.png cannot be read"),
        (["boat", "--picture", __file__], "is not a picture that can be read"),
        (["boat", "--at", "2"], "--at: give --picture FILE as well"),
        (["boat", "--mask", "m.png", "--no-paste"], "--mask, --no-paste: give --picture FILE as well"),
        (["boat", "--picture", "PHOTO", "--mask", "missing.png"], "--mask: missing.png cannot be read"),
        (
            ["boat", "--picture", "PHOTO", "--extend", "1,2,3"],
            "--extend: 1,2,3: must be four whole numbers of pixels, L,T,R,B",
        ),
        (["boat", "--picture", "PHOTO", "--extend", "1,2,3,x"], "--extend: 1,2,3,x: must be four"),
        (["boat", "--picture", "PHOTO", "--extend", "1,2,3,9999999"], "start.extend.3: 9999999 must be at most"),
        (["boat", "--picture", "PHOTO", "--feather", "1000"], "start.feather: 1000 must be at most 256"),
        (["boat", "--at", "2", "--picture", "PHOTO", "--single-stage"], "start.stage: 2"),
        (["boat", "--at", "9", "--picture", "PHOTO"], "start.stage"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    models_dir: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    given = [str(photo) if flag == "PHOTO" else flag for flag in flags]
    assert main(make(models_dir, tmp_path, *given)) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_part_of_a_picture_is_redrawn_and_can_be_made_again(
    models_dir: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.png"
    whole = Image.new("L", (120, 90))
    whole.paste(255, (40, 30, 80, 60))
    whole.save(mask)
    flags = ["--picture", str(photo), "--mask", str(mask), "--feather", "4", "--differential", "1", "--no-paste"]
    assert main(make(models_dir, tmp_path, "boat", *flags)) == 0
    first = json.loads(capsys.readouterr().out)
    start = first["request"]["start"]
    assert (start["feather"], start["differential"], start["paste"]) == (4, 1.0, False)
    assert (tmp_path / "out" / FOLDER / start["mask"]).read_bytes() == mask.read_bytes()
    mask.unlink()
    assert main(make(models_dir, tmp_path, "--from", first["path"])) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True


def test_a_workflow_is_given_the_picture_and_the_mask_that_it_only_names(
    models_dir: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask, workflow = tmp_path / "sky.png", tmp_path / "workflow.json"
    Image.new("L", (120, 90), 255).save(mask)
    nodes = graph_of(
        {
            "10": ["LoadImage", {"image": "photo.jpg"}],
            "14": ["LoadImageMask", {"image": "sky.png", "channel": "red"}],
            "12": ["VAEEncodeForInpaint", {"pixels": ["10", 0], "mask": ["14", 0], "grow_mask_by": 8}],
            "5": ["EmptySD3LatentImage", {}],
            "6": {"latent_image": ["12", 0], "steps": 2, "denoise": 0.5},
        }
    )
    workflow.write_text(json.dumps(nodes), encoding="utf-8")
    files = ["--picture", str(photo), "--mask", str(mask)]
    assert main(make(models_dir, tmp_path, "--from", str(workflow), *files)) == 0
    out, told = capsys.readouterr()
    start = json.loads(out)["request"]["start"]
    assert (start["feather"], start["paste"]) == (4, False)
    assert (tmp_path / "out" / FOLDER / start["mask"]).read_bytes() == mask.read_bytes()
    assert "sky.png is not in this file; choose it as mask" in told
    del nodes["10"], nodes["12"]
    nodes["6"]["inputs"]["latent_image"] = ["5", 0]
    workflow.write_text(json.dumps(nodes), encoding="utf-8")
    assert main(make(models_dir, tmp_path, "--from", str(workflow), *files)) == 2
    assert "--from: makes a picture again as it was" in capsys.readouterr().err


def test_a_picture_is_extended(
    models_dir: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--picture", str(photo), "--extend", "0,0,0,60", "--fit", "stretch", "--single-stage"]
    assert main(make(models_dir, tmp_path, "boat", *flags)) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["request"]["start"]["extend"] == [0, 0, 0, 60]
