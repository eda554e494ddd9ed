"""Inpainting: the noise mask against ComfyUI's numbers, and what is pasted back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights
from tests.tools.test_run_case import CONFIG, relative_l2
from tools.run_case import run_case
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import StagePlan
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.start_image import StartImage
from zimage_app.engine.inpaint import KeptRegion, differential_mask, latent_mask, pasted

GOLDEN = Path(__file__).parents[1] / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "inpaint_manifest.json").read_text(encoding="utf-8"))["cases"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "inpaint.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, golden: dict[str, Tensor]) -> Path:
    folder = tmp_path_factory.mktemp("case")
    save_file(tiny_weights(), folder / "tiny.safetensors")
    empty = torch.zeros_like(golden["latent_in"])
    start = {"latent_in": golden["latent_in"], "empty": empty, "mask": golden["mask"]}
    save_file(start | {"all": torch.ones(1, 5, 5), "none": torch.zeros(1, 5, 5)}, folder / "start.safetensors")
    return folder


def a_case(parameters: dict[str, Any]) -> dict[str, Any]:
    names = ("steps", "cfg", "denoise", "sampler", "scheduler", "seed")
    stage = {"width": 176, "height": 224, "shift": 3.0} | {name: parameters[name] for name in names}
    return {
        "transformer": {"file": "tiny.safetensors", "config": CONFIG},
        "text": {"file": str(GOLDEN / "conds.safetensors"), "positive": "pos_4242", "negative": "neg_4242"},
        "threads": 1,
        "start": {
            "file": "start.safetensors",
            "latent": "empty" if parameters.get("empty_latent") else "latent_in",
            "mask": "mask",
            "differential": parameters["differential_strength"],
        },
        "stages": [stage],
    }


@pytest.mark.parametrize("name", ["soft", "thin"])
def test_a_mask_is_resized_as_comfyui_does(name: str, golden: dict[str, Tensor]) -> None:
    if name == "soft":
        mask = golden["mask"][0].numpy()
    else:
        mask = np.zeros((224, 176), np.float32)
        mask[96], mask[:, 83], mask[120:123, 40:90] = 1.0, 1.0, 1.0
    torch.testing.assert_close(latent_mask(mask, (28, 22)), golden[f"resize.{name}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(CASES))
def test_a_run_with_a_mask_is_comfyuis(name: str, folder: Path, golden: dict[str, Tensor]) -> None:
    case = CASES[name]
    latents, stages = run_case(a_case(case["parameters"]), folder)
    assert relative_l2(latents["stage1"], golden[case["keys"]["latent"]]) < 1e-5
    assert stages[0]["calls"] == len(case["parameters"]["call_sigmas"])


@pytest.mark.parametrize("call", [0, 2])
def test_the_model_sees_the_kept_part_at_each_calls_own_level(call: int, golden: dict[str, Tensor]) -> None:
    parameters = CASES["euler.d0.6"]["parameters"]
    sigma = parameters["call_sigmas"][call]
    kept, seen = _kept(golden), []

    def denoise(x: Tensor, _sigma: float) -> Tensor:
        seen.append(x)
        return torch.full_like(x, 7.0)

    x = torch.full_like(kept.latent, 3.0)
    denoised = kept.around(denoise)(x, sigma)
    nothing = (kept.mask == 0).expand_as(x)
    assert nothing.any()
    torch.testing.assert_close(seen[0][nothing], golden[f"euler.d0.6.model_input.{call}"][nothing], rtol=0, atol=1e-5)
    assert torch.equal(denoised[nothing], kept.latent[nothing])


def _kept(golden: dict[str, Tensor]) -> KeptRegion:
    seed = CASES["euler.d0.6"]["parameters"]["seed"]
    latent = (golden["latent_in"] - 0.1159) * 0.3611
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    stage = StagePlan(0, Stage(), (0.8573263883590698, 0.0), seed, None)
    return KeptRegion(stage, golden["resize.soft"], latent, noise, None)


def test_a_stage_that_barely_redraws_anything_has_a_differential_mask_too() -> None:
    mask = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    stage = StagePlan(0, Stage(shift=3.0), (0.002, 0.0), 1, None)
    assert torch.isfinite(differential_mask(mask, stage, 1.0, 0.002)).all()


def test_a_mask_that_redraws_all_changes_nothing_and_one_that_keeps_all_gives_the_latent_back(
    folder: Path, golden: dict[str, Tensor]
) -> None:
    case = a_case(CASES["euler.d0.6"]["parameters"])
    start = case["start"]

    def final(mask: str | None) -> Tensor:
        latents, _ = run_case(case | {"start": start | {"mask": mask}}, folder)
        return latents["stage1"]

    assert relative_l2(final("all"), final(None)) < 1e-6
    assert relative_l2(final("none"), golden["latent_in"]) < 1e-6


def test_a_following_stage_keeps_what_is_handed_over_to_it(folder: Path) -> None:
    """As in ComfyUI, where a latent keeps its mask through LatentUpscale."""
    case = a_case(CASES["euler.d0.6"]["parameters"])
    case["stages"] = [case["stages"][0], case["stages"][0] | {"width": 336, "height": 432, "seed": 5}]
    latents, _ = run_case(case | {"start": case["start"] | {"mask": "none"}}, folder)
    wanted = torch.nn.functional.interpolate(latents["stage1"], size=(54, 42), mode="nearest-exact")
    assert relative_l2(latents["stage2"], wanted) < 1e-6


def test_what_a_case_names_must_be_there(folder: Path) -> None:
    case = a_case(CASES["euler.d0.6"]["parameters"])
    for key in ("latent", "mask"):
        with pytest.raises(RequestError, match="has no nowhere") as caught:
            run_case(case | {"start": case["start"] | {key: "nowhere"}}, folder)
        assert caught.value.field == f"start.{key}"


def test_what_is_kept_comes_back_bit_for_bit() -> None:
    random = np.random.default_rng(1)
    made, given = (random.integers(0, 256, (6, 4, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((6, 4), np.float32)
    mask[2:4], mask[4] = 1.0, 0.5
    result = pasted(made, StartImage(given, mask))
    np.testing.assert_array_equal(result[[0, 1, 5]], given[[0, 1, 5]])
    np.testing.assert_array_equal(result[2:4], made[2:4])
    assert np.abs(result[4].astype(int) - (made[4].astype(int) + given[4]) / 2).max() <= 0.5
    assert pasted(made, StartImage(given)) is made
