"""Every schedule against ComfyUI's lists, to the last bit, and at the edges of what can be asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zimage_app.domain.schedules import SCHEDULERS, percent_to_sigma, sigma_table, stage_sigmas

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "sigmas.json").read_text(encoding="utf-8"))
KSAMPLER_NAMES = [name for name in SCHEDULERS if not name.startswith("flow_match") or name == "flow_match_linear"]
COMFY_NAMES = {"flow_match_linear": "FlowMatchEulerDiscreteScheduler"}
OFF_BY_ONE_BIT = {"karras": 2, "exponential": 9, "kl_optimal": 1}
"""Values of the goldens where the processor that made them rounded ``pow``, ``exp`` or ``tan`` the other way, out of
496 per schedule; other processors differ among themselves in the same places."""
SHIFTS = (0.01, 0.5, 1.0, 1.7, 3.0, 7.0, 12.5, 100.0)


def cases(scheduler: str) -> list[tuple[float, int, float, dict[str, Any]]]:
    """(shift, steps, denoise, golden case)"""
    found = []
    for shift in (3.0, 7.0):
        lists = GOLDEN["flow_models"][f"shift{shift}"]["schedulers"][COMFY_NAMES.get(scheduler, scheduler)]
        for key, case in lists.items():
            steps, denoise = key.removeprefix("steps").split("_denoise")
            found.append((shift, int(steps), float(denoise), case))
    return found


def bits_apart(ours: tuple[float, ...] | list[float], theirs: list[float]) -> int:
    """How many values differ; fails when one differs by more than the last float32 bit, or the lengths do."""
    assert len(ours) == len(theirs)
    a, b = np.array(ours, np.float32), np.array(theirs, np.float32)
    assert (np.abs(a - b) <= np.spacing(np.minimum(a, b))).all()
    return int((a != b).sum())


@pytest.mark.parametrize("scheduler", KSAMPLER_NAMES)
def test_lists_are_comfyuis(scheduler: str) -> None:
    off = sum(
        bits_apart(stage_sigmas(scheduler, shift, steps, denoise), case["sigmas"])
        for shift, steps, denoise, case in cases(scheduler)
    )
    assert off == OFF_BY_ONE_BIT.get(scheduler, 0)


@pytest.mark.parametrize("scheduler", KSAMPLER_NAMES)
def test_lists_without_the_penultimate_are_comfyuis(scheduler: str) -> None:
    with_list = [case for case in cases(scheduler) if "ksampler_discard_penultimate" in case[3]]
    for shift, steps, denoise, case in with_list:
        ours = stage_sigmas(scheduler, shift, steps, denoise, discard_penultimate=True)
        off = bits_apart(ours, case["ksampler_discard_penultimate"])
        assert off == 0 or scheduler in OFF_BY_ONE_BIT


def test_some_golden_discards_the_penultimate() -> None:
    assert any("ksampler_discard_penultimate" in case for *_, case in cases("normal"))


@pytest.mark.parametrize("shift", [1, 3, 7])
@pytest.mark.parametrize("steps", [4, 8, 9, 16, 20])
def test_flow_match_is_the_custom_nodes(shift: int, steps: int) -> None:
    theirs = GOLDEN["flowmatch_custom_node"][f"custom_node_shift{shift}_steps{steps}"]
    assert list(stage_sigmas("flow_match", float(shift), steps, 1.0)) == theirs


@pytest.mark.parametrize("variant", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("steps", [4, 8, 9, 16, 20])
def test_the_custom_nodes_variants(variant: str, steps: int) -> None:
    theirs = GOLDEN["flowmatch_custom_node"][f"custom_node_shift3_{variant}_steps{steps}"]
    assert list(stage_sigmas(f"flow_match_{variant}", 3.0, steps, 1.0)) == theirs


@pytest.mark.parametrize("steps", [4, 8, 9, 16, 20])
def test_flow_match_linear_is_the_handlers(steps: int) -> None:
    assert (
        list(stage_sigmas("flow_match_linear", 7.0, steps, 1.0))
        == GOLDEN["flowmatch_custom_node"][f"handler_steps{steps}"]
    )


def test_the_workflows_three_lists() -> None:
    workflow = GOLDEN["workflow"]
    assert list(stage_sigmas("flow_match", 3.0, 9, 1.0)) == workflow["stage1"]
    assert list(stage_sigmas("flow_match_linear", 7.0, 16, 0.7)) == workflow["stage2"]
    assert list(stage_sigmas("beta", 7.0, 16, 0.6)) == workflow["stage3"]


@pytest.mark.parametrize("shift", [3.0, 7.0])
def test_table_and_percents_are_comfyuis(shift: float) -> None:
    model = GOLDEN["flow_models"][f"shift{shift}"]
    table = sigma_table(shift).tolist()
    assert table[:5] == model["model_sigmas_first5"]
    assert table[-5:] == model["model_sigmas_last5"]
    for percent, sigma in model["percent_to_sigma"].items():
        assert percent_to_sigma(shift, float(percent)) == pytest.approx(sigma, rel=1e-15, abs=0.0)


def torch_shifted(shift: float, t: torch.Tensor) -> torch.Tensor:
    return shift * t / (1 + (shift - 1) * t)


@pytest.mark.parametrize("shift", SHIFTS)
def test_uniform_lists_are_torchs_float32(shift: float) -> None:
    low = float(torch_shifted(shift, torch.tensor(0.001)))
    for steps in [*range(2, 70), 200, 333, 2000]:
        ours = stage_sigmas("normal", shift, steps, 1.0)[:-1]
        theirs = torch_shifted(shift, torch.linspace(1.0, low, steps)).clamp(max=1.0)
        assert torch.equal(torch.tensor(ours), theirs)
        ours = stage_sigmas("sgm_uniform", shift, steps, 1.0)[:-1]
        theirs = torch_shifted(shift, torch.linspace(1.0, low, steps + 1)).clamp(max=1.0)[:-1]
        assert torch.equal(torch.tensor(ours), theirs)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("steps", [2, 3, 9, 16, 57, 200])
def test_curved_lists_are_torchs_float32_to_the_last_bit(shift: float, steps: int) -> None:
    low = float(sigma_table(shift)[0])
    ramp = torch.linspace(0.0, 1.0, steps)
    share = torch.arange(steps, dtype=torch.float32) / (steps - 1)
    theirs = {
        "karras": (1.0 + ramp * (low ** (1 / 7) - 1.0)) ** 7.0,
        "exponential": torch.linspace(0.0, math.log(low), steps).exp(),
        "kl_optimal": (share * math.atan(low) + (1 - share) * math.atan(1.0)).tan(),
    }
    for scheduler, values in theirs.items():
        bits_apart(stage_sigmas(scheduler, shift, steps, 1.0)[:-1], values.tolist())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("discard", [False, True])
def test_odd_wishes_give_a_falling_list(scheduler: str, shift: float, discard: bool) -> None:
    for steps, denoise in [(1, 1.0), (2, 1.0), (3, 0.999), (200, 1.0), (1, 0.01), (10, 0.01), (200, 0.01), (7, 0.14)]:
        with np.errstate(all="raise"):
            sigmas = np.array(stage_sigmas(scheduler, shift, steps, denoise, discard_penultimate=discard))
        assert np.isfinite(sigmas).all()
        assert 0.0 < sigmas[0] <= 1.0
        assert sigmas[-1] == 0.0
        assert (np.diff(sigmas) < 0).all()
        assert 2 <= len(sigmas) <= steps + 1


def test_levels_that_come_twice_shorten_the_list() -> None:
    # 20000 positions in a table of 1000: the last 200 hold 10 levels.
    assert len(stage_sigmas("simple", 3.0, 200, 0.01)) == 11


@pytest.mark.parametrize("steps", [1, 9, 16])
def test_denoise_keeps_the_steps_and_starts_lower(steps: int) -> None:
    whole, part = (stage_sigmas("simple", 3.0, steps, denoise) for denoise in (1.0, 0.5))
    assert len(whole) == len(part) == steps + 1
    assert part[0] < whole[0] == 1.0


def test_denoise_divides_in_double_precision() -> None:
    # 7 / 0.14 is 49.999…, so 49 steps and not 50.
    assert stage_sigmas("simple", 3.0, 7, 0.14) == stage_sigmas("simple", 3.0, 49, 1.0)[-8:]
