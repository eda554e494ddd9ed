"""ComfyUI's single files: names, scales, and quantised formats that are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.packed_support import original_transformer_names
from tests.models.stock import normal, rel
from zimage_app.domain.errors import ModelError
from zimage_app.models.components import Components
from zimage_app.models.formats import vae_names
from zimage_app.models.loader import load_components
from zimage_app.models.placement import plan_for
from zimage_app.models.spec import find_model
from zimage_app.models.tiny import TINY_VAE

CPU = plan_for(1, torch.device("cpu"))


def original_vae_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' names back to the original ones; attention as 1 x 1 convolutions."""
    named: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if ".attentions." in key and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        for level in range(4):
            key = key.replace(f"up_blocks.{level}.resnets", f"up.{3 - level}.block")
            key = key.replace(f"up_blocks.{level}.upsamplers.0", f"up.{3 - level}.upsample")
            key = key.replace(f"down_blocks.{level}.resnets", f"down.{level}.block")
            key = key.replace(f"down_blocks.{level}.downsamplers.0", f"down.{level}.downsample")
        for new, old in (
            ("mid_block.resnets.0", "mid.block_1"),
            ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
            ("mid_block.attentions.0.to_", "mid.attn_1."),
            ("conv_norm_out", "norm_out"),
            ("conv_shortcut", "nin_shortcut"),
        ):
            key = key.replace(new, old)
        named[key] = tensor.contiguous()
    return named


@pytest.fixture
def comfy_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny model as ComfyUI lays it out: three single files, a tokenizer, and configs because it is not Turbo."""
    folder = tmp_path / "comfy"
    for part, place, prefix in (
        ("transformer", "diffusion_models", "model.diffusion_model."),
        ("vae", "vae", ""),
        ("text_encoder", "text_encoders", "model."),
    ):
        (file,) = (tiny_folder / part).glob("*.safetensors")
        tensors: dict[str, Tensor] = load_file(file)
        if part == "transformer":
            tensors = original_transformer_names(tensors)
        if part == "vae":
            tensors = original_vae_names(tensors)
        (folder / place).mkdir(parents=True)
        save_file({prefix + key: tensor for key, tensor in tensors.items()}, folder / place / f"{part}.safetensors")
        (folder / "configs" / part).mkdir(parents=True)
        shutil.copy(tiny_folder / part / "config.json", folder / "configs" / part)
    shutil.copytree(tiny_folder / "tokenizer", folder / "tokenizer")
    return folder


def load(folder: Path) -> Components:
    return load_components(find_model(str(folder), folder.parent), CPU)


def velocity(components: Components) -> Tensor:
    transformer = components.transformer
    prompt = transformer.prompt(components.text.encode("a boat"))
    return transformer.evaluation((12, 8), [prompt], [0.5])(normal(1, 16, 12, 8), 0.5)


def quantise(folder: Path, scale_name: str, **notes: str) -> dict[str, Tensor]:
    """The transformer's linears in 8-bit floats with scales; gives what they stand for."""
    path = folder / "diffusion_models" / "transformer.safetensors"
    stored: dict[str, Tensor] = {}
    meant: dict[str, Tensor] = {}
    for key, tensor in load_file(path).items():
        meant[key] = stored[key] = tensor
        if ".attention.qkv.weight" in key or ".feed_forward.w" in key:
            scale = tensor.abs().max() / 448.0
            stored[key] = (tensor / scale).to(torch.float8_e4m3fn)
            meant[key] = stored[key].float() * scale
            layer = key.removesuffix("weight")
            stored[layer + scale_name] = scale
            stored |= {
                layer + name: torch.tensor(list(text.encode()), dtype=torch.uint8) for name, text in notes.items()
            }
    save_file(stored, path)
    return meant


def test_comfyuis_layout_loads(comfy_folder: Path, tiny_folder: Path) -> None:
    comfy, plain = load(comfy_folder), load(tiny_folder)
    assert rel(velocity(comfy), velocity(plain)) < 1e-6
    latent = normal(1, 16, 4, 6)
    assert torch.equal(comfy.codec.decode(latent), plain.codec.decode(latent))


def test_without_configs_it_is_the_published_model(comfy_folder: Path) -> None:
    shutil.rmtree(comfy_folder / "configs")
    with pytest.raises(ModelError, match=r"text_encoder\.safetensors .*text encoder"):
        load(comfy_folder)


@pytest.mark.parametrize(
    ("scale_name", "notes"),
    [
        ("scale_weight", {}),
        ("weight_scale", {"comfy_quant": '{"format": "float8_e4m3fn"}'}),
    ],
)
def test_scaled_fp8_stands_for_its_product(comfy_folder: Path, scale_name: str, notes: dict[str, str]) -> None:
    exact = velocity(load(comfy_folder))
    meant = quantise(comfy_folder, scale_name, **notes)
    found = velocity(load(comfy_folder))
    save_file(meant, comfy_folder / "diffusion_models" / "transformer.safetensors")
    assert rel(found, velocity(load(comfy_folder))) < 1e-6
    assert 1e-4 < rel(found, exact) < 0.1


def test_scales_per_row_and_none(comfy_folder: Path) -> None:
    path = comfy_folder / "diffusion_models" / "transformer.safetensors"
    plain = load_file(path)
    key = "model.diffusion_model.layers.0.feed_forward.w1"
    stored, rows = plain[f"{key}.weight"].to(torch.float8_e5m2), torch.rand(170) + 0.5
    save_file(plain | {f"{key}.weight": stored, f"{key}.weight_scale": rows}, path)
    found: Any = load(comfy_folder).transformer
    weight = found.module.layers[0].feed_forward.w1.weight
    assert torch.equal(weight, stored.float() * rows[:, None])
    marks = {"scaled_fp8": torch.zeros(0), f"{key}.scale_input": torch.ones(1)}
    save_file(plain | {f"{key}.weight": stored} | marks, path)
    found = load(comfy_folder).transformer
    assert torch.equal(found.module.layers[0].feed_forward.w1.weight, stored.float())


@pytest.mark.parametrize(
    ("notes", "named"),
    [
        ({"comfy_quant": '{"format": "hadamard_w2"}'}, "quantised as hadamard_w2"),
        ({"comfy_quant": '{"format": "nvfp4"}'}, "as nvfp4, but without its weight_scale_2"),
        ({"comfy_quant": '{"format": "int8_tensorwise", "convrot": true}'}, "int8_tensorwise, but stores it as float8"),
        ({"comfy_quant": "{oops"}, "unreadable note"),
    ],
)
def test_other_quantised_formats_are_refused_by_name(comfy_folder: Path, notes: dict[str, str], named: str) -> None:
    quantise(comfy_folder, "weight_scale", **notes)
    with pytest.raises(ModelError, match=rf"transformer\.safetensors.*{named}"):
        load(comfy_folder)


def test_a_scale_of_another_shape_is_named(comfy_folder: Path) -> None:
    path = comfy_folder / "diffusion_models" / "transformer.safetensors"
    quantise(comfy_folder, "weight_scale")
    key = "model.diffusion_model.layers.0.feed_forward.w1.weight_scale"
    save_file(load_file(path) | {key: torch.ones(7)}, path)
    with pytest.raises(ModelError, match=rf"{key} with shape \(7,\), but one scale or 170 are needed"):
        load(comfy_folder)


def test_a_format_named_in_the_header_is_heeded(comfy_folder: Path) -> None:
    path = comfy_folder / "diffusion_models" / "transformer.safetensors"
    note = json.dumps({"layers": {"layers.0.attention.qkv": {"format": "mxfp8"}}})
    save_file(load_file(path), path, {"_quantization_metadata": note})
    with pytest.raises(ModelError, match=r"layers\.0\.attention\.qkv\.weight as mxfp8, but without its weight_scale"):
        load(comfy_folder)


def test_vae_with_attention_in_original_names() -> None:
    from diffusers import AutoencoderKL

    config: dict[str, Any] = TINY_VAE | {"mid_block_add_attention": True}
    tensors = AutoencoderKL(**config).state_dict()
    named = vae_names(original_vae_names(tensors), config)
    assert set(named) == set(tensors)
    assert all(torch.equal(named[key], tensor) for key, tensor in tensors.items())
