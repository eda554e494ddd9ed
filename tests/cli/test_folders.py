"""The configuration of a command: its flags are settled as the app's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.cli.folders import config_of
from zimage_app.cli.main import build_parser, main
from zimage_app.models.find.catalogue import find_model
from zimage_app.service.setup.config import StudioConfig


def config(*flags: str) -> StudioConfig:
    return config_of(build_parser().parse_args(["generate", "x", *flags]))


def test_the_demo_model_is_here_wherever_models_lie(tmp_path: Path) -> None:
    assert find_model("demo", config("--models-dir", str(tmp_path)).model_folders).present


def test_a_device_is_read_as_the_app_reads_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert config("--device", "auto").device is None
    assert config("--device", "cpu").device == "cpu"
    assert main(["generate", "x", "--device", "gpu"]) == 2
    assert capsys.readouterr().err.startswith('--device: "gpu"')
    assert main(["generate", "x", "--device", "cuda:0,cuda:1"]) == 2
    assert "--device: cuda:0,cuda:1: a command computes on one device" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "plan", "export"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_made(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert main([command, "x", "--device", "cuda:99"]) == 2
    assert "device 'cuda:99' is not on this machine; use one of " in capsys.readouterr().err


def test_a_commands_folder_may_be_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config("--out", ".").outputs == tmp_path
    assert config("--outputs", "here").outputs == Path("here")
