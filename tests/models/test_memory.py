"""Device and dtype for a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zimage_app.domain.errors import ModelError
from zimage_app.models.memory import plan_for, plan_memory
from zimage_app.models.spec import find_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("parameters", "device", "dtype"),
    [
        (6_000_000, "cpu", torch.float32),
        (999_999_999, "cpu", torch.float32),
        (1_000_000_000, "cpu", torch.bfloat16),
        (6_000_000, "cuda", torch.bfloat16),
        (10_000_000_000, "mps", torch.bfloat16),
    ],
)
def test_plan(parameters: int, device: str, dtype: torch.dtype) -> None:
    plan = plan_for(parameters, torch.device(device))
    assert (plan.device.type, plan.dtype) == (device, dtype)
    assert str(dtype).removeprefix("torch.") in plan.reason.en
    assert str(dtype).removeprefix("torch.") in plan.reason.zh


def test_plan_of_a_folder(tiny_folder: Path) -> None:
    plan = plan_memory(find_model(str(tiny_folder), tiny_folder.parent), "cpu")
    assert (plan.device, plan.dtype) == (CPU, torch.float32)


def test_an_absent_device_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"'xla'.*cpu"):
        plan_memory(find_model(str(tiny_folder), tiny_folder.parent), "xla")
