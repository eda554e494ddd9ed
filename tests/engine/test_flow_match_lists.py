"""The flow-match lists against diffusers' own scheduler, which ComfyUI's FlowMatchEuler node wraps."""

from __future__ import annotations

import numpy as np
import pytest

from zimage_app.domain.schedules import stage_sigmas

STEPS = [*range(1, 21), 48, 89, 200]


def reference(steps: int, **settings: float | bool) -> list[float]:
    """The scheduler's sigmas."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(**settings)
    scheduler.set_timesteps(steps, mu=0.0 if settings.get("use_dynamic_shifting") else None)
    sigmas: list[float] = scheduler.sigmas.tolist()
    return sigmas


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.7, 3.0, 7.0, 12.5])
@pytest.mark.parametrize("variant", ["", "karras", "exponential", "beta"])
def test_the_nodes_lists_are_diffusers(shift: float, variant: str) -> None:
    settings: dict[str, float | bool] = {"shift": shift}
    if variant:
        settings[f"use_{variant}_sigmas"] = True
    name = f"flow_match_{variant}".removesuffix("_")
    for steps in STEPS:
        assert list(stage_sigmas(name, shift, steps, 1.0)) == reference(steps, **settings)


def test_the_linear_list_is_diffusers_with_dynamic_shifting() -> None:
    for steps in STEPS:
        ours = stage_sigmas("flow_match_linear", 3.0, steps, 1.0)
        assert list(ours) == reference(steps, use_dynamic_shifting=True)
        assert np.diff(ours).max() < 0
