"""Merged weights against ComfyUI's: every spelling and every kind of adapter (tests/golden/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.lora_support import (
    GOLDEN,
    MANIFEST,
    OUT,
    case_tensors,
    changed,
    float32_module,
    low_rank,
    patchable,
    state,
    weight,
    write,
)
from tests.models.stock import normal
from zimage_app.models.lora import LoraManager, ResolvedLora

_CASES: dict[str, Any] = MANIFEST["numeric_cases"]
_FORMS: dict[str, Any] = MANIFEST["name_forms"]
_TOLERANCE = 1e-6
_IGNORED_BY_COMFY = {"pad_token_diff"}


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return float32_module()


@pytest.fixture(scope="module")
def pristine(module: nn.Module) -> dict[str, Tensor]:
    return state(module)


@pytest.fixture(scope="module")
def manager(module: nn.Module, pristine: dict[str, Tensor]) -> LoraManager:
    del pristine  # copied before the first LoRA
    return LoraManager(patchable(module))


def _stack(case: str, folder: Path, pristine: dict[str, Tensor]) -> list[ResolvedLora]:
    """The files and strengths of a numeric case; what the manifest calls full matrices is worked out here."""
    tensors, strength = case_tensors(case), _CASES[case]["strength"]
    key = f"diffusion_model.{OUT}"
    first = case_tensors("lora_alpha")
    product = first[f"{key}.lora_up.weight"] @ first[f"{key}.lora_down.weight"]
    full = {
        "diff": {f"{key}.diff": product},
        "lora_and_diff_same_file": {**tensors, f"{key}.diff": 0.5 * product},
        "set_weight": {f"{key}.set_weight": 0.5 * weight(pristine, f"{OUT}.weight")},
    }
    second = {name.removeprefix("second/"): value for name, value in tensors.items() if name.startswith("second/")}
    tensors = {name: value for name, value in tensors.items() if not name.startswith("second/")}
    dora = {name: value for name, value in case_tensors("dora_output_axis").items() if not name.endswith("alpha")}
    path = write(folder, full.get(case, tensors))
    more = {
        "two_loras": lambda: [ResolvedLora(write(folder, second, "second"), -0.5)],
        "lora_then_dora": lambda: [ResolvedLora(write(folder, dora, "dora"), 0.8)],
        "same_lora_twice": lambda: [ResolvedLora(path, 0.4)],
    }
    return [ResolvedLora(path, strength), *more.get(case, list)()]


@pytest.mark.parametrize("case", sorted(set(_CASES) - _IGNORED_BY_COMFY))
def test_merged_weights_are_comfyuis(
    case: str, module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    """Corner, norm and sum of the whole weight."""
    wanted = _CASES[case]
    manager.apply(_stack(case, tmp_path, pristine))
    found = weight(module, wanted["target"])
    corner = torch.tensor(wanted["corner_4x4"])
    part = found[:4, :4] if found.ndim == 2 else found[: corner.shape[0]]
    assert (part - corner).abs().max() <= _TOLERANCE * max(1.0, float(corner.abs().max()))
    assert float(found.double().norm()) == pytest.approx(wanted["l2"], rel=_TOLERANCE)
    largest_sum = float(found.double().abs().sum())
    assert float(found.double().sum()) == pytest.approx(wanted["sum"], abs=_TOLERANCE * largest_sum)


@pytest.mark.parametrize("case", sorted(set(_CASES) - _IGNORED_BY_COMFY))
def test_no_other_weight_is_touched(
    case: str, module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    """split_qkv_dora changes rows of q only: k and v keep their bits."""
    manager.apply(_stack(case, tmp_path, pristine))
    touched = changed(pristine, module)
    allowed = {
        "layers.0.attention.qkv.weight": {f"layers.0.attention.to_{letter}.weight" for letter in "qkv"},
        "layers.0.attention.out.weight": {"layers.0.attention.to_out.0.weight"},
        "layers.0.attention.q_norm.weight": {"layers.0.attention.norm_q.weight"},
    }
    targets = _CASES[case]["changed"]
    assert touched
    assert touched <= set().union(*(allowed.get(name, {name}) for name in targets))
    if case == "split_qkv_dora":
        assert touched == {"layers.0.attention.to_q.weight"}


def test_pad_tokens_stay_and_say_so(
    module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = case_tensors("pad_token_diff") | low_rank(f"diffusion_model.{OUT}", (256, 256))
    warnings = manager.apply([ResolvedLora(write(tmp_path, tensors))])
    assert changed(pristine, module) == {"layers.0.attention.to_out.0.weight"}
    assert [("x_pad_token" in text.en, "x_pad_token" in text.zh) for text in warnings] == [(True, True)]


@pytest.mark.parametrize("form", sorted(_FORMS))
def test_every_spelling_has_its_effect(
    form: str, module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    """Those that ComfyUI applies, and those that it ignores although they clearly mean this model."""
    keys: list[str] = _FORMS[form]["keys"]
    target = _target(form)
    whole = weight(pristine, f"{target}.weight")
    rows = slice(256, 512) if "to_k" in keys[0] else slice(0, 256) if "to_q" in keys[0] else slice(None)
    up, down = 0.1 * normal(whole[rows].shape[0], 4, seed=1), 0.1 * normal(4, whole.shape[1], seed=2)
    halves = {True: down, False: up}
    is_down = {key: "lora_A" in key or "down" in key for key in keys}
    tensors = {key: halves[is_down[key]] for key in keys if not key.endswith("alpha")}
    scale = 1.0
    if "alpha" in form:
        tensors |= {key: torch.tensor(2.0) for key in keys if key.endswith("alpha")}
        scale = 0.5
        assert len(tensors) == 3
    assert manager.apply([ResolvedLora(write(tmp_path, tensors), 0.7)]) == []
    wanted = whole.double().clone()
    wanted[rows] += 0.7 * scale * (up.double() @ down.double())
    assert (weight(module, f"{target}.weight") - wanted).abs().max() <= _TOLERANCE


def _target(form: str) -> str:
    """The original name of the module that a form means."""
    for mark, target in (
        ("noise_refiner.1", "noise_refiner.1.attention.qkv"),
        ("context_refiner.1", "context_refiner.1.feed_forward.w1"),
        ("adaLN", "layers.3.adaLN_modulation.0"),
        ("x_embedder", "x_embedder"),
        ("final_layer", "final_layer.linear"),
        ("t_embedder", "t_embedder.mlp.0"),
        ("cap_embedder", "cap_embedder.1"),
        ("qkv", "layers.0.attention.qkv"),
        ("to_k", "layers.0.attention.qkv"),
    ):
        if mark in form:
            return target
    return OUT


@pytest.mark.parametrize(
    "prefix", ["lora_unet__", "lora_unet_", "lycoris_", "lora_transformer_", "base_model.model.transformer.", ""]
)
@pytest.mark.parametrize("name", ["layers.0.attention.to.k", "layers.0.attention.to_k", "layers_0_attention_to_k"])
def test_prefixes_and_joints_mix(
    prefix: str, name: str, module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor], tmp_path: Path
) -> None:
    """Tools that join with dots behind an underscored prefix, and the other way round."""
    manager.apply([ResolvedLora(write(tmp_path, low_rank(prefix + name, (256, 256))))])
    assert changed(pristine, module) == {"layers.0.attention.to_k.weight"}


def test_both_namings_merge_alike(module: nn.Module, manager: LoraManager, pristine: dict[str, Tensor]) -> None:
    """The same LoRA, fused under original names and split under diffusers names."""
    assert manager.apply([ResolvedLora(GOLDEN / "tiny_lora_comfy.safetensors", 0.8)]) == []
    fused = state(module)
    assert len(changed(pristine, module)) == 4 * 6
    assert manager.apply([ResolvedLora(GOLDEN / "tiny_lora_diffusers.safetensors", 0.8)]) == []
    worst = max(float((fused[name] - tensor).abs().max()) for name, tensor in module.named_parameters())
    assert worst <= _TOLERANCE


def test_peft_magnitude_measures_the_sum(module: nn.Module, manager: LoraManager, tmp_path: Path) -> None:
    """PEFT's DoRA has rows of exactly the given length; ComfyUI's dora_scale measures the weight before."""
    tensors = low_rank(f"base_model.model.{OUT}", (256, 256), seed=5)
    length = 1.0 + 0.1 * normal(256, seed=7)
    tensors[f"base_model.model.{OUT}.lora_magnitude_vector"] = length
    manager.apply([ResolvedLora(write(tmp_path, tensors))])
    assert torch.allclose(weight(module, f"{OUT}.weight").norm(dim=1), length, rtol=1e-5, atol=0)


def test_column_lengths_of_fused_qkv_are_measured_on_all_rows(
    module: nn.Module, manager: LoraManager, tmp_path: Path
) -> None:
    """A column of the fused matrix runs through q, k and v."""
    key = "diffusion_model.layers.0.attention.qkv"
    length = 1.0 + 0.1 * normal(1, 256, seed=7)
    tensors = {**low_rank(key, (768, 256), seed=5), f"{key}.dora_scale": length}
    manager.apply([ResolvedLora(write(tmp_path, tensors))])
    found = weight(module, "layers.0.attention.qkv.weight")
    assert torch.allclose(found.norm(dim=0, keepdim=True), length.abs(), rtol=1e-5, atol=0)
