"""Device and dtype for a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zimage_app.domain.errors import ModelError
from zimage_app.models.device import device_names, named_device
from zimage_app.models.memory_plan import plan_memory
from zimage_app.models.placement import plan_for
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


def test_devices_are_named_as_torch_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_names()["cpu"] == "CPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    assert list(device_names().items())[:2] == [("cuda:0", "Card 0"), ("cuda:1", "Card 1")]
    assert named_device("cuda") == torch.device("cuda")
    assert named_device("cuda:1").index == 1
    with pytest.raises(ModelError, match=r"'cuda:2'.*cuda:0, cuda:1"):
        named_device("cuda:2")


def test_an_absent_device_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"'xla'.*cpu"):
        plan_memory(find_model(str(tiny_folder), tiny_folder.parent), "xla")
