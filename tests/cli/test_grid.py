"""``grid``: cells are the pictures of single runs, what they share is run once, and nothing is made twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zimage_app import load_generator
from zimage_app.cli.main import main
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig

STAGES = [
    Stage(width=64, height=64, steps=2, cfg=2.0),
    Stage(width=96, height=96, steps=2, denoise=0.7),
    Stage(width=128, height=128, steps=2, denoise=0.6),
]


def test_three_by_three_over_the_last_stage(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    stages = "stages=" + json.dumps([stage.model_dump(mode="json") for stage in STAGES])
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path), "--model", "tiny", "--alone"]
    axes = ["--x", "stages.2.denoise=0.4..0.6/0.1", "--y", "stages.2.seed=1,2,3", "--to", str(tmp_path / "grid")]
    command = ["grid", "a red boat", "--seed", "5", "--set", stages, *axes, *places]
    assert main([*command, "--dry-run"]) == 0
    told = "9 cells, 0 done already; 24 evaluations (stage memory saves 48 of 72), time not known yet."
    assert told in capsys.readouterr().err
    assert main(command) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths[-2:]] == ["sheet-1.png", "index.html"]
    cells = paths[:-2]
    records = [read_record(path) for path in cells]
    assert [[stage.from_memory for stage in record.stages] for record in records] == [
        [False] * 3,
        *[[True, True, False]] * 8,
    ]
    forgetful = load_generator("tiny", StudioConfig(models=models_dir, outputs=tmp_path, stage_memory=0))
    for path, record in zip(cells, records, strict=True):
        alone = forgetful.generate(record.request)
        assert not any(stage.from_memory for stage in alone.record.stages)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(alone.image))
    assert main(command) == 0
    assert "9 cells, 9 done already; 0 evaluations" in capsys.readouterr().err
    assert len(list(tmp_path.glob("2*/*.png"))) == 9


def test_other_settings_have_another_folder(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path), "--model", "tiny", "--alone"]
    command = ["grid", "a boat", "--x", "stages.0.steps=1", "--single-stage", "--size", "64x64", *places]
    several: list[list[str]] = [["--seed", "1"], ["--seed", "2"], ["--seed", "1", "--negative", "blur"], []]
    for flags in several:
        for left in ("1 cells, 0 done already", "1 cells, 1 done already"):
            assert main([*command, *flags]) == 0
            assert left in capsys.readouterr().err
    assert len(list(tmp_path.glob("grids/*/x1-y1-z1.png"))) == len(several)
    inside = [*command, "--to", str(tmp_path / "one"), "--seed"]
    assert main([*inside, "1"]) == main([*inside, "2"]) == 0
    assert re.search(r"Replaces files .*: 1;", capsys.readouterr().err)
    assert main([*inside, "1", "--dry-run"]) == 0
    assert "1 cells, 0 done already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--x", "steps"], "--x: steps: write NAME=VALUE"),
        (["--x", "stages.9.steps=1,2"], "there is no entry 9"),
        (["--x", "preset=none-such"], "none-such"),
        (["--x", "stages.0.cfg=99,1"], "stages.0.cfg: 99"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grid", "a boat", "--model", "demo", "--outputs", str(tmp_path), *flags]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
