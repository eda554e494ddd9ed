"""LoRAs on packed weights, as if merged into the numbers behind them; and on weights that can be read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models.gguf_support import write_pair
from tests.models.lora_support import changed, low_rank, state, write
from tests.models.packed_support import PACKERS, WIDE_CONFIG, velocity, wide_weights, write_packed
from tests.models.stock import GOLDEN_CONFIG, normal, rel
from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.engine.guidance.nag import NagCombine
from zimage_app.models.load.loader import load_transformer
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.weights.packed_weights import packed_linears
from zimage_app.models.weights.placement import MemoryPlan

CPU = torch.device("cpu")
UNPACKED = MemoryPlan(CPU, torch.float32, Text("-", "-"))
PACKED = MemoryPlan(CPU, torch.float32, Text("-", "-"), capability=(7, 0))
FAR = 1e-2
"""What the LoRAs here move at the very least."""

Pair = tuple[FastTransformer, FastTransformer]
"""The same numbers packed, and unpacked."""


@pytest.fixture(params=["fp8", "int8 convrot", "w4a8", "Q8_0", "Q4_0"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param in PACKERS:
        path = tmp_path / "packed.safetensors"
        write_packed(path, PACKERS[request.param][0])
        return load_transformer(path, WIDE_CONFIG, PACKED), load_transformer(path, WIDE_CONFIG, UNPACKED)
    packed, meant = write_pair(tmp_path, request.param)
    return load_transformer(packed, GOLDEN_CONFIG, UNPACKED), load_transformer(meant, GOLDEN_CONFIG, UNPACKED)


def width(fast: FastTransformer) -> int:
    return int(fast.module.config.dim)


def fused(fast: FastTransformer, seed: int) -> dict[str, Tensor]:
    dim = width(fast)
    return low_rank("diffusion_model.layers.0.attention.qkv", (3 * dim, dim), seed=seed)


def split(fast: FastTransformer, seed: int) -> dict[str, Tensor]:
    dim = width(fast)
    return (
        low_rank("transformer.layers.0.attention.to_k", (dim, dim), seed=seed)
        | low_rank("transformer.layers.1.attention.to_out.0", (dim, dim), seed=seed + 2)
        | low_rank("transformer.layers.1.feed_forward.w1", (int(dim / 3 * 8), dim), seed=seed + 4)
        | {"transformer.layers.0.attention_norm1.diff": 0.2 * normal(dim, seed=seed)}
    )


def loha(fast: FastTransformer, seed: int) -> dict[str, Tensor]:
    dim, key = width(fast), "diffusion_model.layers.0.attention.qkv"
    shapes = {"w1_a": (3 * dim, 2), "w1_b": (2, dim), "w2_a": (3 * dim, 2), "w2_b": (2, dim)}
    return {f"{key}.hada_{name}": 0.3 * normal(*shape, seed=seed + n) for n, (name, shape) in enumerate(shapes.items())}


def dora(fast: FastTransformer, seed: int) -> dict[str, Tensor]:
    dim, key = width(fast), "diffusion_model.layers.1.attention.to_v"
    return low_rank(key, (dim, dim), seed=seed) | {f"{key}.dora_scale": 1.0 + normal(dim, 1, seed=seed).abs()}


STACKS = {
    "one fused": [(fused, 1.0)],
    "one split, and a norm": [(split, 0.8)],
    "three": [(fused, 0.6), (split, -0.4), (fused, 0.3)],
    "LoHa": [(loha, 1.0)],
    "DoRA over a LoRA": [(split, 1.0), (dora, 0.7)],
    "LoHa and LoRA on one": [(fused, 0.5), (loha, 0.5), (split, 1.0)],
}


@pytest.mark.parametrize("stack", STACKS)
def test_as_if_merged_and_off_again(pair: Pair, tmp_path: Path, stack: str) -> None:
    packed, unpacked = pair
    before = velocity(packed)
    uses = [
        ResolvedLora(write(tmp_path, make(packed, 10 * number), f"lora {number}"), strength)
        for number, (make, strength) in enumerate(STACKS[stack])
    ]
    manager, other = LoraManager(packed), LoraManager(unpacked)
    manager.apply(uses)
    other.apply(uses)
    found = velocity(packed)
    assert rel(found, velocity(unpacked)) < 1e-5
    assert rel(found, before) > FAR
    manager.apply([])
    assert torch.equal(velocity(packed), before)


def test_nag_reads_packed_weights_and_their_loras(pair: Pair, tmp_path: Path) -> None:
    packed, unpacked = pair
    uses = [ResolvedLora(write(tmp_path, split(packed, 0)), 0.8)]
    nag = NagCombine(6.0, 1.5, 0.5)
    before = velocity(packed, nag)
    assert rel(before, velocity(unpacked, nag)) < 1e-5
    for fast in pair:
        LoraManager(fast).apply(uses)
    found = velocity(packed, nag)
    assert rel(found, velocity(unpacked, nag)) < 1e-5
    assert rel(found, before) > FAR
    assert rel(found, velocity(packed)) > FAR


def test_what_cannot_run_beside_the_weights_says_what_it_takes(pair: Pair, tmp_path: Path) -> None:
    packed, unpacked = pair
    plain = ResolvedLora(write(tmp_path, fused(packed, 0), "plain"))
    product = ResolvedLora(write(tmp_path, loha(packed, 0), "product"))
    assert LoraManager(packed).apply([plain]) == []
    (warning,) = LoraManager(packed).apply([product])
    gigabytes = 3 * width(packed) ** 2 * 4 / 1e9
    assert "product.safetensors: the model's weights are packed" in warning.en
    assert f"{gigabytes:.2g} GB" in warning.en
    assert f"{gigabytes:.2g} GB" in warning.zh
    assert LoraManager(unpacked).apply([product]) == []


def test_packed_weights_are_never_touched(pair: Pair, tmp_path: Path) -> None:
    packed, _ = pair
    kept = {name: linear.dense() for name, linear in packed_linears(packed.module).items()}
    manager = LoraManager(packed)
    for number, make in enumerate((fused, loha, split)):
        manager.apply([ResolvedLora(write(tmp_path, make(packed, number), f"lora {number}"))])
        now = packed_linears(packed.module)
        assert all(torch.equal(now[name].dense(), weight) for name, weight in kept.items())


def test_weights_are_read_again_instead_of_copied(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in wide_weights().items()}, path)
    stored = path.read_bytes()
    fast = load_transformer(path, WIDE_CONFIG, UNPACKED)
    before, velocity_before = state(fast.module), velocity(fast)
    manager = LoraManager(fast)
    manager.apply([ResolvedLora(write(tmp_path, fused(fast, 0), "one")), ResolvedLora(write(tmp_path, dora(fast, 1)))])
    assert not torch.equal(velocity(fast), velocity_before)
    assert path.read_bytes() == stored
    manager.apply([])
    assert changed(before, fast.module) == set()
    assert torch.equal(velocity(fast), velocity_before)


def test_a_model_file_that_changed_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in wide_weights().items()}, path)
    fast = load_transformer(path, WIDE_CONFIG, UNPACKED)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelError, match=r"plain\.safetensors was changed while the model is in use; load .* again"):
        LoraManager(fast).apply([ResolvedLora(write(tmp_path, fused(fast, 0)))])
