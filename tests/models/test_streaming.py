"""Layers that visit the device one by one compute what they computed there, and come home as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zimage_app.models.layout import model_files
from zimage_app.models.loader import load_components
from zimage_app.models.memory_plan import fitted, plan_memory
from zimage_app.models.placement import MemoryPlan, plan_for
from zimage_app.models.quantised import Float8Weight, QuantisedLinear
from zimage_app.models.sources import ModelSource
from zimage_app.models.spec import find_model
from zimage_app.models.streaming import StreamedLayer, visiting

CPU = torch.device("cpu")
META = torch.device("meta")


@pytest.fixture
def source(tiny_folder: Path) -> ModelSource:
    return find_model(str(tiny_folder), tiny_folder.parent)


def accelerator() -> MemoryPlan:
    return plan_for(6_000_000_000, torch.device("xpu"))


@pytest.fixture
def layer() -> nn.Module:
    """A plain linear, one that is packed, and a buffer."""
    torch.manual_seed(3)
    weight = Float8Weight(torch.randn(4, 4).to(torch.float8_e4m3fn), torch.ones(1), torch.float32)
    layer = nn.Sequential(nn.Linear(4, 4), QuantisedLinear(weight, (0, 4)))
    layer.register_buffer("table", torch.ones(2))
    return layer.requires_grad_(False)


def test_the_features_are_the_same_bit_by_bit(source: ModelSource) -> None:
    plan = plan_memory(source, "cpu")
    resident = load_components(source, plan).text
    streamed: Any = load_components(source, replace(plan, stream_text=True)).text
    assert all(isinstance(item, StreamedLayer) for item in streamed.module.layers)
    for prompt in ("", "一只红色小船", "a longer prompt " * 20):
        assert torch.equal(streamed.encode(prompt), resident.encode(prompt))


def test_everything_that_a_layer_needs_goes_along(layer: nn.Module) -> None:
    # Tensors of the device "meta" compute only with their like, so a weight left behind would raise.
    out = StreamedLayer(layer, META)(torch.empty(3, 4, device=META))
    assert (out.device, tuple(out.shape)) == (META, (3, 4))
    with visiting(layer, META):
        assert {tensor.device for tensor in (*layer.parameters(), *layer.buffers())} == {META}
        assert layer.get_submodule("1").weight.device == META


def test_the_very_same_weights_come_home_whatever_happens(layer: nn.Module) -> None:
    packed: Any = layer.get_submodule("1")
    before = [*layer.parameters(), *layer.buffers(), packed.weight]
    with pytest.raises(ZeroDivisionError), visiting(layer, META):
        raise ZeroDivisionError
    after = [*layer.parameters(), *layer.buffers(), packed.weight]
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_the_plan_keeps_the_text_encoder_off_a_small_device(source: ModelSource) -> None:
    files = model_files(source)
    plan = accelerator()
    assert fitted(plan, files, None) == plan
    assert fitted(plan, files, 24 * 10**9) == plan
    small = fitted(plan, files, 2 * 10**9 + 100_000)
    assert small.stream_text
    assert small.for_text.device == CPU
    assert small.device == plan.device
    assert "layer by layer" in small.reason.en
    assert "文本编码器逐层调入" in small.reason.zh
    assert "smaller file" in fitted(plan, files, 10**9).reason.en
    assert plan.for_text == plan
