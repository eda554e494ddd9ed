"""``upscale`` on the command line, on a model of toy size: with Lanczos, with an upscaler, and made again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.models.upscaler_files import old_names, weights
from zimage_app.cli.main import main
from zimage_app.service.library.upscalers import FOLDERS


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """The tiny model and an upscaler."""
    folder = tmp_path / "models"
    (folder / FOLDERS[0]).mkdir(parents=True)
    (folder / "tiny").symlink_to(models_dir / "tiny")
    torch.save(old_names(weights()), folder / FOLDERS[0] / "4x-some.pth")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_mandelbrot((60, 90), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(path)
    return path


def flags(models: Path, tmp_path: Path) -> list[str]:
    return ["--models-dir", str(models), "--out", str(tmp_path / "out"), "--model", "tiny", "--json", "--alone"]


def made(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_picture_of_ours_is_enlarged_with_its_own_settings_and_can_be_made_again(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--single-stage", "--size", "64x96", "--set", "stages.0.steps=2", "--seed", "5"]
    assert main(["generate", "a boat", *flags(models, tmp_path), *small]) == 0
    first, _ = made(capsys)
    assert main(["upscale", first["path"], *flags(models, tmp_path), "--steps", "2", "--denoise", "0.4"]) == 0
    second, told = made(capsys)
    assert "Enlarged to 128 x 192 with Lanczos" in told
    assert (second["width"], second["height"]) == (128, 192)
    request = second["request"]
    assert (request["prompt"], request["seed"], request["stages"][0]["denoise"]) == ("a boat", 5, 0.4)
    assert request["start"]["picture"] == hashlib.sha256(Path(first["path"]).read_bytes()).hexdigest()
    assert request["start"]["upscaler"] is None
    assert main(["generate", "--from", second["path"], *flags(models, tmp_path)]) == 0
    assert made(capsys)[0]["identical"] is True


def test_an_upscaler_is_remembered_with_its_hash_and_another_file_is_refused(
    models: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = models / FOLDERS[0] / "4x-some.pth"
    asked = ["upscale", str(photo), "a boat", *flags(models, tmp_path), "--steps", "1", "--set", "stages.0.cfg=1"]
    assert main([*asked, "--upscaler", "4x-some.pth"]) == 0
    first, told = made(capsys)
    assert "Enlarged to 128 x 176 with 4x-some.pth" in told
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert first["request"]["start"]["upscaler"] == {"name": "4x-some.pth", "sha256": digest}
    parameters = Image.open(first["path"]).info["parameters"]
    assert f"Start picture resized by: 4x-some.pth, Upscaler hash: {digest[:10]}" in parameters
    again = ["generate", "--from", first["path"], *flags(models, tmp_path)]
    assert main(again) == 0
    assert made(capsys)[0]["identical"] is True
    assert main(asked) == 0
    lanczos, _ = made(capsys)
    assert Image.open(lanczos["path"]).tobytes() != Image.open(first["path"]).tobytes()
    torch.save(old_names(weights(seed=1)), file)
    assert main(again) != 0
    assert "4x-some.pth is another file than the one in these settings" in capsys.readouterr().err
    file.unlink()
    assert main(again) == 2
    assert "there is no '4x-some.pth' in models/upscalers/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "prompt: is missing"),
        (["boat", "--factor", "1"], "factor: 1.0 must be"),
        (["boat", "--factor", "40"], "factor: 40.0 must be at most 8"),
        (["boat", "--upscaler", "../secret.pth"], "there is no '../secret.pth'"),
        (["boat", "--seed", "x"], "seed"),
        (["boat", "--set", "start.mask=" + "b" * 64, "--upscaler", "4x-some.pth"], "an upscaler goes with a whole"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    models: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert main(["upscale", str(photo), *more, *flags(models, tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_file_that_is_no_picture_is_refused(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", __file__, *flags(models, tmp_path)]) == 2
    assert "PICTURE: " in capsys.readouterr().err
    assert main(["upscale", str(tmp_path / "none.png"), *flags(models, tmp_path)]) == 2
    assert "none.png cannot be read" in capsys.readouterr().err


def test_a_broken_upscaler_costs_a_sentence(
    models: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(__file__, models / FOLDERS[0] / "broken.pth")
    assert main(["upscale", str(photo), "boat", *flags(models, tmp_path), "--upscaler", "broken.pth"]) != 0
    assert "broken.pth is damaged, or no file of weights" in capsys.readouterr().err
