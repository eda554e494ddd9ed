"""``export``: settings as a ComfyUI workflow on the terminal; nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service.exports.comfy_nodes import faults
from tests.service.records import a_picture, a_record
from zimage_app.cli.main import main
from zimage_app.service.imports import read_file
from zimage_app.service.pictures.gallery import Gallery

BOAT = ["a red boat", "--model", "demo", "--seed", "42"]


@pytest.mark.parametrize("flag", ["--to", "--out"])
def test_the_settings_of_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    target = tmp_path / "boat.json"
    assert main(["export", *BOAT, "--set", "stages.0.steps=7", flag, str(target)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "demo lies in folders here" in said.err
    request = read_file(target).request()
    assert (request.prompt, request.seed) == ("a red boat", 42)
    assert request.stages is not None
    assert request.stages[0].steps == 7
    written = target.read_bytes()
    assert main(["export", *BOAT, flag, str(target)]) == 2, "it may be a picture, or a workflow that was worked on"
    assert "--replace" in capsys.readouterr().err
    assert target.read_bytes() == written
    assert main(["export", *BOAT, flag, str(target), "--replace"]) == 0
    assert target.read_bytes() != written


def test_the_form_for_the_server_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *BOAT, "--single-stage", "--form", "api"]) == 0
    assert faults(json.loads(capsys.readouterr().out)) == []


def test_the_settings_of_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = a_record()
    record = record.model_copy(update={"request": record.request.model_copy(update={"loras": ()})})
    saved = Gallery(tmp_path).save(a_picture(), record)
    assert main(["export", "--from", str(saved.path)]) == 0
    assert json.loads(capsys.readouterr().out)["extra"]["zimage_studio"]["request"]["seed"] == 42


def test_what_comfyui_can_not_do_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *BOAT, "--set", "stages.0.cfg_limit.most=1"]) == 2
    assert "stages.0.cfg_limit" in capsys.readouterr().err
    assert main(["export", *BOAT, "--count", "2"]) == 2
    assert "--count" in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *BOAT, "--to", str(tmp_path / "none" / "a.json")]) == 2
    assert "--to" in capsys.readouterr().err
