"""The whole engine against ComfyUI: three stages, with EasyCache and without, through the app's own code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.golden.make_tiny_weights import tiny_weights
from tools.run_case import main, run_case
from zimage_app.domain.settings.stage import REFERENCE_STAGES

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SEEDS = (905124181980574, 182450993364532, 894355038471848)
CONFIG = {
    "dim": 256,
    "n_layers": 4,
    "n_refiner_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 64,
    "axes_lens": [1536, 512, 512],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    save_file(tiny_weights(), folder / "tiny.safetensors")
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "e2e_i_default.safetensors")


@pytest.fixture(scope="module")
def modes() -> dict[str, Any]:
    manifest = json.loads((GOLDEN / "e2e_manifest.json").read_text(encoding="utf-8"))
    modes: dict[str, Any] = manifest["variants"]["i_default"]["modes"]
    return modes


def a_case(mode: str, stages: int = 3) -> dict[str, Any]:
    """The reference workflow as a case, in one of the golden modes."""
    asked = [
        stage.model_copy(update={"seed": seed, **({"easycache": None} if mode == "off" else {})}).model_dump(
            mode="json"
        )
        for stage, seed in zip(REFERENCE_STAGES, SEEDS, strict=True)
    ][:stages]
    if mode == "on_warm":
        asked[1]["easycache"]["window_shift"] = 7.0
    return {
        "transformer": {"file": "tiny.safetensors", "config": CONFIG},
        "text": {"file": str(GOLDEN / "conds.safetensors"), "positive": "pos_4242", "negative": "neg_4242"},
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "stages": asked,
    }


def relative_l2(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("mode", "stages"), [("off", 3), ("on", 3), ("on_warm", 2)])
def test_a_whole_run_is_comfyuis(
    mode: str, stages: int, folder: Path, expected: dict[str, torch.Tensor], modes: dict[str, Any]
) -> None:
    """A warm run differs from a cold one in stage 2 alone: the window's shift of EasyCache."""
    latents, counted = run_case(a_case(mode, stages), folder)
    for number, counts in enumerate(counted, start=1):
        name = f"stage{number}"
        reference = modes[mode].get(name) or modes["off"][name]
        assert counts["calls"] == reference["calls"]
        assert counts["executed"] == reference["executed"]
        assert counts["skipped_calls"] == reference["skipped_calls"]
        wanted = expected.get(f"{mode}.{name}", expected[f"off.{name}"])
        assert relative_l2(latents[name], wanted) < 1e-5, name
    if mode == "on":
        aliased = relative_l2(latents["stage2"], expected["on_aliased.stage2"])
        assert aliased > 0.1, "ComfyUI's bug that is seen in float32 only is copied"


def test_the_tool_prints_and_writes_what_it_promises(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    case = folder / "case.json"
    case.write_text(json.dumps(a_case("off", stages=1)), encoding="utf-8")
    out = folder / "out.safetensors"
    command = [sys.executable, str(ROOT / "tools" / "run_case.py"), str(case), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"stages": [{"calls": 18, "executed": 18, "skipped_calls": []}]}
    assert relative_l2(load_file(out)["stage1"], expected["off.stage1"]) < 1e-5


def test_a_bad_case_is_one_sentence(folder: Path) -> None:
    case = folder / "bad.json"
    case.write_text(json.dumps(a_case("off") | {"stages": [{"sampler": "euler_a"}]}), encoding="utf-8")
    command = [sys.executable, str(ROOT / "tools" / "run_case.py"), str(case), str(folder / "no.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bad.json: stages.0.sampler:")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "float33"}, "dtype: "),
        ({"device": "nowhere"}, "device 'nowhere' is not on this machine"),
        ({"threads": 0}, "threads: 0 must be at least 1"),
        ({"transformer": None}, "transformer: "),
        ({"text": {"file": str(GOLDEN / "conds.safetensors"), "positive": "pos_1"}}, "text.positive: "),
        ({"loras": [{"strength": 1.0}]}, "loras.0.file: is missing"),
        ({"stages": None}, "stages: "),
    ],
)
def test_whatever_is_wrong_with_a_case_is_one_sentence(
    change: dict[str, Any], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = folder / "wrong.json"
    case.write_text(json.dumps(a_case("off", stages=1) | change), encoding="utf-8")
    assert main([str(case), str(folder / "no.safetensors")]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"wrong.json: {words}")
    assert len(complaint.splitlines()) == 1


def test_null_is_the_same_as_a_key_left_out(folder: Path) -> None:
    small = {"stages": [{"width": 64, "height": 64, "steps": 1, "seed": 7}]}
    case = {key: value for key, value in a_case("off").items() if key in ("transformer", "text")} | small
    nothing = dict.fromkeys(("loras", "dtype", "device", "threads", "seed"))
    plain, _ = run_case(case, folder)
    nulls, _ = run_case(case | nothing, folder)
    assert torch.equal(plain["stage1"], nulls["stage1"])


def test_a_lora_that_has_no_effect_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"lora_unet_nowhere.lora_down.weight": torch.ones(1, 2)}, folder / "foreign.safetensors")
    lora = load_file(GOLDEN / "tiny_lora_comfy.safetensors") | load_file(folder / "foreign.safetensors")
    save_file(lora, folder / "partly.safetensors")
    case = a_case("off", stages=1) | {"loras": [{"file": "partly.safetensors", "strength": 0.8}], "dtype": "bfloat16"}
    case["stages"][0]["steps"] = 1
    run_case(case, folder)
    assert "nowhere" in capsys.readouterr().err
