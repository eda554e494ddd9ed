"""Packed weights: unpacked right, multiplied right, held as the device wants."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.models.packed_support import PACKERS, WIDE_CONFIG, velocity, wide_weights, write_packed
from tests.models.stock import rel
from zimage_app.domain.text import Text
from zimage_app.models.loader import load_transformer
from zimage_app.models.memory import Holding, MemoryPlan
from zimage_app.models.parts import TRANSFORMER
from zimage_app.models.quantised import quantised_linears
from zimage_app.models.transformer import FastTransformer

CPU = torch.device("cpu")
PLAN = MemoryPlan(CPU, torch.float32, Text("-", "-"))
OLD_GPU = MemoryPlan(CPU, torch.float32, Text("-", "-"), capability=(7, 0))
"""Of a device that keeps weights packed and multiplies none of them as they are."""
NEW_GPU = MemoryPlan(CPU, torch.float32, Text("-", "-"), capability=(12, 0))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> FastTransformer:
    """The transformer before packing."""
    path = tmp_path_factory.mktemp("wide") / "plain.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in wide_weights().items()}, path)
    return load_transformer(path, WIDE_CONFIG, PLAN)


@pytest.mark.parametrize("name", PACKERS)
def test_weights_come_out_of_every_packing(tmp_path: Path, name: str, exact: FastTransformer) -> None:
    pack, error = PACKERS[name]
    path = tmp_path / "packed.safetensors"
    write_packed(path, pack, "model.diffusion_model.")
    unpacked = load_transformer(path, WIDE_CONFIG, PLAN)
    wanted = dict(exact.module.named_parameters())
    for key, parameter in unpacked.module.named_parameters():
        moved = rel(parameter, wanted[key])
        assert 1e-4 < moved < error if TRANSFORMER.stays_packed.fullmatch(key) else moved == 0.0
    packed = load_transformer(path, WIDE_CONFIG, OLD_GPU)
    assert len(quantised_linears(packed.module)) == 7 * 4
    assert rel(velocity(packed), velocity(unpacked)) < 1e-5


@pytest.mark.parametrize(
    ("name", "difference"),
    [("fp8", 0.08), ("int8", 0.04), ("int8 by row", 0.03), ("int8 convrot", 0.03), ("w4a8", 0.03), ("svdquant", 0.3)],
)
def test_packed_weights_are_multiplied_as_they_are(tmp_path: Path, name: str, difference: float) -> None:
    """comfy-kitchen's own arithmetic, here in its portable form: inputs are rounded to 8 or 4 bits too."""
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS[name][0])
    native, unpacked = (load_transformer(path, WIDE_CONFIG, plan) for plan in (NEW_GPU, OLD_GPU))
    assert 1e-5 < rel(velocity(native), velocity(unpacked)) < difference


@pytest.mark.parametrize(
    ("packing", "capability", "holding"),
    [
        ("int8_tensorwise", None, Holding.UNPACKED),
        ("int8_tensorwise", (7, 0), Holding.AT_USE),
        ("int8_tensorwise", (7, 5), Holding.NATIVE),
        ("float8_e4m3fn", (8, 6), Holding.AT_USE),
        ("float8_e4m3fn", (8, 9), Holding.NATIVE),
        ("float8_e5m2", (12, 0), Holding.AT_USE),
        ("nvfp4", (9, 0), Holding.AT_USE),
        ("nvfp4", (10, 0), Holding.NATIVE),
        ("Q4_K", None, Holding.AT_USE),
        ("Q4_K", (12, 0), Holding.AT_USE),
    ],
)
def test_the_device_decides_how_weights_are_held(
    packing: str, capability: tuple[int, int] | None, holding: Holding
) -> None:
    assert MemoryPlan(CPU, torch.float32, Text("-", "-"), capability).holding(packing) is holding
