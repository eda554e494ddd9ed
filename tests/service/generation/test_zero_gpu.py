"""A borrowed GPU: runs in forked processes through the real ``spaces``, the device's API played, torch on the CPU."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.service.generation.test_lora_runs import write
from zimage_app import load_generator
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import BusyError, LoadingCancelled, RequestError, StudioError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.generation.generator import load_options
from zimage_app.service.generation.zero_gpu import lease_seconds
from zimage_app.service.setup.config import ROOT, StudioConfig

PLAIN = GenerationRequest(
    prompt="a boat",
    seed=5,
    stages=(Stage(width=64, height=96, steps=2), Stage(width=128, height=192, steps=2, denoise=0.7)),
)
INKED = PLAIN.model_copy(update={"loras": (LoraUse(name="ink", strength=1.0),)})


def plan(stages: tuple[Stage, ...]) -> GenerationPlan:
    return make_plan(GenerationRequest(prompt="a", seed=1, stages=stages), Z_IMAGE_TURBO)


def test_the_lease_grows_with_the_picture_and_is_never_more_than_a_visitor_may_have() -> None:
    small, large = (lease_seconds(plan((Stage(width=side, height=side, steps=8),))) for side in (512, 1024))
    assert 20 < small < large < 60
    assert lease_seconds(plan((Stage(width=2048, height=2048, steps=100),) * 3)) == 120


def test_no_kernels_are_tried_on_a_visitors_seconds(tmp_path: Path) -> None:
    own = StudioConfig(outputs=tmp_path)
    assert load_options(own).kernels is not None
    assert load_options(replace(own, borrowed_gpu=True)).kernels is None


@pytest.mark.parametrize(
    "error",
    [
        StudioError(Text("a", "甲")),
        RequestError("stages.1.denoise", Text("must be at most 1", "不能大于 1")),
        BusyError(Text("later", "稍后"), 5.0, own=True),
        LoadingCancelled(),
    ],
)
def test_errors_cross_processes_whole(error: StudioError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.fixture(scope="module")
def borrowed(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``borrowing.py`` saw, and the same pictures made without borrowing."""
    if os.name != "posix":
        pytest.skip("Spaces run on Linux")
    folder = tmp_path_factory.mktemp("space")
    write(folder / "loras" / "ink.safetensors", 1)
    (folder / "cgroup").write_text("0::/\n")
    environment = {
        **os.environ,
        "SPACE_ID": "me/studio",
        "SPACES_ZERO_GPU": "true",
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
        "ZEROGPU_OFFLOAD_DIR": str(folder / "tensors"),
        "OMP_NUM_THREADS": "1",
    }
    arguments = [str(models_dir), str(folder / "loras"), str(folder / "outputs")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.borrowing", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    generator = load_generator("tiny", StudioConfig(models=models_dir, loras=folder / "loras"))
    for name, request in (("plain", PLAIN), ("inked", INKED)):
        results[name] = hashlib.sha256(generator.generate(request).image.tobytes()).hexdigest()
    return results


@pytest.mark.timeout(300)
def test_pictures_are_those_of_a_machine_of_one_s_own(borrowed: dict[str, Any]) -> None:
    assert borrowed["first"]["state"] == "done"
    assert borrowed["first"]["pixels"] == borrowed["plain"]
    assert borrowed["ink"]["pixels"] == borrowed["inked"] != borrowed["plain"]


def test_a_lora_stays_neither_in_a_process_that_is_used_again_nor_in_the_parent(borrowed: dict[str, Any]) -> None:
    assert borrowed["after ink"]["pixels"] == borrowed["plain"]
    assert borrowed["fresh"]["pixels"] == borrowed["inked"]
    assert borrowed["parent unchanged"] is True


def test_a_run_is_stopped_across_the_fork(borrowed: dict[str, Any]) -> None:
    assert borrowed["stopped"]["state"] == "cancelled"
    assert 1 <= borrowed["stopped"]["steps"] < 100


def test_each_run_is_lent_to_the_visitor_who_asked_for_it(borrowed: dict[str, Any]) -> None:
    asked = borrowed["asked"]
    assert [call["token"] for call in asked] == ["anna", "ben", "anna", "ben", "ben", "anna"]
    plain = lease_seconds(make_plan(PLAIN, Z_IMAGE_TURBO))
    assert int(asked[0]["durationSeconds"]) >= plain


def test_a_refusal_is_told_in_its_own_words(borrowed: dict[str, Any]) -> None:
    assert borrowed["refused"]["state"] == "failed"
    assert "could not lend a GPU" in borrowed["refused"]["error"]
    assert "quota" in borrowed["refused"]["error"]
