"""The demo model made from nothing by its one command, a little of everything: ``python -m pytest tests/long``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.test_demo_model import check_loras
from zimage_app import GenerationRequest, load_generator

pytestmark = pytest.mark.timeout(3600)

ROOT = Path(__file__).parents[2]


def make(out: Path) -> str:
    command = [sys.executable, "-m", "tools.demo_model.make", "--out", str(out), "--share", "0.005", "--processes", "2"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=3000).stderr


def test_one_command_makes_a_model_that_draws(tmp_path: Path) -> None:
    make(tmp_path)
    generator = load_generator(str(tmp_path / "model"))
    assert generator.generate(GenerationRequest(prompt="湖", seed=1)).image.size == (672, 864)
    check_loras(tmp_path / "loras")
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text(encoding="utf-8"))
    assert report["probe on drawn scenes"]["ground"] > 30
    (row,) = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    assert row["step"] == 80
    again = make(tmp_path)
    assert again.count("done already") == 8
