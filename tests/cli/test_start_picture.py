"""``--picture``: image-to-image on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from zimage_app.cli.main import main
from zimage_app.service.inputs import FOLDER


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
        (["boat", "--at", "2"], "--at, --fit: go with --picture"),
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
