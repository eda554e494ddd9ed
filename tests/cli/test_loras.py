"""LoRAs on the command line: listed, checked, used, and pictures made again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.cli.test_main import QUICK
from tests.models.lora_support import low_rank
from tests.service.lora_files import write_json, write_lora
from zimage_app.cli.lora_flags import lora_use
from zimage_app.cli.main import main
from zimage_app.domain.errors import RequestError
from zimage_app.service.pictures.gallery import read_record


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    """A folder of LoRAs, for the tiny model and not."""
    folder = tmp_path / "loras"
    folder.mkdir()
    save_file(
        low_rank("diffusion_model.layers.0.attention.to_v", (64, 64))
        | {"text_model.a.lora_B.weight": torch.zeros(1, 1)},
        folder / "ink.safetensors",
        {"modelspec.trigger_phrase": "水墨", "modelspec.architecture": "z-image/lora"},
    )
    write_lora(folder / "style" / "[snow].safetensors")
    write_json(folder / "style" / "[snow].json", {"activation text": "a, b, c, d, e", "preferred weight": 0.7})
    write_lora(folder / "flux.safetensors", shapes={"double_blocks.0.img_attn.qkv.lora_A.weight": (4, 8)})
    (folder / "broken.safetensors").write_bytes(b"\xff" * 64)
    return folder


@pytest.fixture
def tiny(models_dir: Path) -> str:
    return str(models_dir / "tiny")


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("ink", {"name": "ink", "strength": 1.0}),
        ("ink=0.8", {"name": "ink", "strength": 0.8}),
        ("风格/水墨 v1.5=-.5", {"name": "风格/水墨 v1.5", "strength": -0.5}),
        ("ink=0.8@1,2", {"name": "ink", "strength": 0.8, "stages": [1, 2]}),
        ("ink@3", {"name": "ink", "strength": 1.0, "stages": [3]}),
        ("a=b=1", {"name": "a=b", "strength": 1.0}),
        ("me@home=1", {"name": "me@home", "strength": 1.0}),
    ],
)
def test_a_flag_is_a_name_a_strength_and_stages(text: str, use: dict[str, object]) -> None:
    assert lora_use(text) == use


@pytest.mark.parametrize("text", ["", "=1", "ink=", "ink=strong", "ink=1@", "ink@1,,2", "ink=1@" + "9" * 5000])
def test_a_flag_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"--lora: .*NAME=STRENGTH@STAGES"):
        lora_use(text)


def test_every_file_is_listed_with_what_is_known(loras: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["loras", "--loras", str(loras)]) == 0
    lines = capfd.readouterr().out.splitlines()
    (snow,) = (line for line in lines if line.startswith("style/[snow]"))
    for word in ("LoRA 4", "0.7", "a, b, c +2"):
        assert word in snow
    assert any("broken" in line and "not a whole safetensors file" in line for line in lines)
    assert any("flux" in line and "not a LoRA for Z-Image" in line for line in lines)


def test_json_is_one_list(loras: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["loras", "--json", "--loras", str(loras)]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capfd.readouterr().out)}
    assert list(entries) == ["broken", "flux", "ink", "style/[snow]"]
    assert entries["ink"]["triggers"] == ["水墨"]
    assert entries["ink"]["sha256"] is None
    assert entries["broken"]["problem"]


def test_an_empty_folder_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["loras", "--loras", str(tmp_path)]) == 0
    assert "put .safetensors files there" in capfd.readouterr().err


def test_check_says_what_applies_and_why_not(loras: Path, tiny: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["loras", "check", "ink", "[snow]", "--model", tiny, "--loras", str(loras)]) == 0
    ink, unused, snow = capfd.readouterr().out.splitlines()
    assert ink.startswith("ink: applies to 1 weight (LoRA 4, SHA-256 ")
    assert "1 keys have no effect, text-encoder keys" in unused
    assert snow.startswith("style/[snow]: applies to 1 weight")
    assert main(["loras", "check", "--model", tiny, "--loras", str(loras)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("broken: is not a whole safetensors file") for line in lines)
    assert any("flux.safetensors: nothing in it fits Z-Image" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["loras", "check", "inkk"], "did you mean ink"),
        (["loras", "check", "--model", "sdxl"], "sdxl"),
        (["loras", "chek"], "invalid choice"),
        (["generate", "x", "--lora", "inkk"], "did you mean ink"),
        (["generate", "x <lora:inkk:1>"], "did you mean ink"),
        (["generate", "x <lora:ink:7>"], "from -2 to 2"),
        (["generate", "x", "--lora", "ink=7"], "loras.0.strength: 7.0 must be at most 2"),
        (["generate", "x", "--lora", "ink=1@9"], "loras.0.stages.0: 9 must be at most 8"),
        (["generate", "x", "--lora", "ink=1@4"], "there is no stage 4"),
        (["generate", "x", "--lora", "k=1"], "did you mean ink"),
        (["generate", "x", "--out", "boat.png"], "boat.png is a picture's name; give a folder"),
        (["generate", "--from", "nothing.png"], "there is no file nothing.png"),
        (["generate", "x", "--from", "nothing.png"], "leave out the prompt"),
        (["generate", "--seed", "3", "--from", "nothing.png"], "leave out the prompt"),
    ],
)
def test_bad_input_is_status_2_and_one_sentence(
    arguments: list[str], words: str, loras: Path, tiny: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = [] if "--model" in arguments or "chek" in arguments else ["--model", tiny]
    try:
        status = main([*arguments, *model, "--loras", str(loras)])
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capfd.readouterr()
    assert status == 2
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_a_part_of_a_name_that_fits_one_lora_is_enough_and_is_told(
    loras: Path, tiny: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_lora(loras / "style" / "ink-line.safetensors")
    assert main(["loras", "check", "line", "--model", tiny, "--loras", str(loras)]) == 0
    assert "LoRA line: using style/ink-line" in capfd.readouterr().err
    assert main(["plan", "x", "--model", tiny, "--loras", str(loras), "--lora", "SNOW=0.5"]) == 0
    assert "LoRA SNOW: using style/[snow]" in capfd.readouterr().err
    assert main(["plan", "x", "--model", tiny, "--loras", str(loras), "--lora", "in=0.5"]) == 2
    assert "ink, style/ink-line" in capfd.readouterr().err


def test_a_picture_is_made_with_loras_and_made_again(
    loras: Path, tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ["--model", tiny, "--loras", str(loras), "--out", str(tmp_path / "out")]
    arguments = ["a boat <lora:[snow]:0.5>", "--lora", "ink=-0.75@1", "--seed", "7"]
    assert main(["generate", *arguments, *places, *QUICK]) == 0
    printed = capfd.readouterr()
    assert "LoRA ink: none of its trigger words is in the prompt: 水墨" in printed.err
    path = Path(printed.out.strip())
    ink, snow = read_record(path).request.loras
    assert (ink.name, ink.strength, ink.stages, snow.name, snow.strength) == ("ink", -0.75, (1,), "style/[snow]", 0.5)

    assert main(["generate", "--from", str(path), *places, "--json"]) == 0
    printed = capfd.readouterr()
    assert "Every pixel is the same." in printed.err
    again = json.loads(printed.out)
    assert again["identical"] is True
    with Image.open(path) as one, Image.open(again["path"]) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))

    save_file(
        {key: 9 * tensor for key, tensor in low_rank("layers.0.attention.to_v", (64, 64)).items()},
        loras / "ink.safetensors",
    )
    assert main(["generate", "--from", str(path), *places, "--json"]) == 0
    printed = capfd.readouterr()
    assert "LoRA ink is another file than the one in these settings" in printed.err
    assert "of the pixels differ" in printed.err
    assert json.loads(printed.out)["identical"] is False


def test_a_picture_without_settings_cannot_be_made_again(
    tmp_path: Path, tiny: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path)
    assert main(["generate", "--from", str(path), "--model", tiny]) == 2
    assert "photo.png holds no settings" in capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="no colons in names on this system")
def test_a_name_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lora(tmp_path / "[b]ink[/b] :on:.safetensors")
    assert main(["loras", "--loras", str(tmp_path)]) == 0
    assert "[b]ink[/b] :on: " in capsys.readouterr().out
