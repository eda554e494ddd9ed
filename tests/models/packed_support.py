"""What the tests of packed weights share: a small transformer and its linears in every packing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from comfy_kitchen.tensor import QuantizedTensor
from safetensors.torch import save_file
from torch import Tensor

from tests.models.stock import normal
from zimage_app.models.components import AttentionGuidance, Combine
from zimage_app.models.networks.transformer import FastTransformer

WIDE_CONFIG: dict[str, Any] = {
    "dim": 192,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 32,
    "axes_dims": [32, 32, 32],
    "axes_lens": [640, 128, 128],
}
"""All inputs of a linear are multiples of 64, which every packing can hold."""
PACKED = (".attention.qkv.weight", ".attention.out.weight", ".w1.weight", ".w2.weight", ".w3.weight")


def original_transformer_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' names back to the original ones."""
    named: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if ".to_q." in key:
            rows = [tensors[key.replace("to_q", name)] for name in ("to_q", "to_k", "to_v")]
            named[key.replace("to_q", "qkv")] = torch.cat(rows)
        elif ".to_k." not in key and ".to_v." not in key:
            for new, old in (
                ("all_x_embedder.2-1", "x_embedder"),
                ("all_final_layer.2-1", "final_layer"),
                ("to_out.0", "out"),
                ("norm_q", "q_norm"),
                ("norm_k", "k_norm"),
            ):
                key = key.replace(new, old)
            named[key] = tensor
    return named


def wide_weights() -> dict[str, Tensor]:
    """A transformer of WIDE_CONFIG under ComfyUI's names."""
    from diffusers import ZImageTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = ZImageTransformer2DModel(**WIDE_CONFIG)
        for token in (module.x_pad_token, module.cap_pad_token):
            torch.nn.init.normal_(token)
    return {key: tensor.detach() for key, tensor in original_transformer_names(module.state_dict()).items()}


def is_packed(key: str) -> bool:
    """Whether ComfyUI's files pack this weight: those of the blocks, not those around them."""
    return key.endswith(PACKED)


def kitchen(layout: str, note: Mapping[str, Any], **options: Any) -> Callable[[str, Tensor], dict[str, Tensor]]:
    """A packer: a layer's name and weight -> its tensors as ComfyUI stores them."""

    def pack(layer: str, weight: Tensor) -> dict[str, Tensor]:
        packed = QuantizedTensor.from_float(weight, layout, **options)
        stored = {key: tensor.contiguous() for key, tensor in packed.state_dict(f"{layer}.weight").items()}
        text = json.dumps(dict(note)).encode()
        return stored | {f"{layer}.comfy_quant": torch.tensor(list(text), dtype=torch.uint8)}

    return pack


def svdquant(layer: str, weight: Tensor) -> dict[str, Tensor]:
    """SVDQuant's tensors of a weight; comfy-kitchen itself packs none, as that takes calibration."""
    rows, columns = weight.shape
    smooth = 0.5 + normal(columns, seed=1).abs()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    up, down = left[:, :16] * values[:16], right[:16].T
    rest = (weight - up @ down.T) * smooth
    groups = rest.reshape(rows, -1, 64)
    scale = groups.abs().amax(-1) / 7.0
    codes = (groups / scale[..., None]).round().clamp(-8, 7).reshape(rows, columns).to(torch.int16) & 0xF
    note = torch.tensor(list(b'{"format": "svdquant_w4a4"}'), dtype=torch.uint8)
    return {
        f"{layer}.weight": (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8).view(torch.int8),
        f"{layer}.weight_scale": scale.T.contiguous().bfloat16(),
        f"{layer}.weight_proj_down": down.contiguous().bfloat16(),
        f"{layer}.weight_proj_up": up.contiguous().bfloat16(),
        f"{layer}.weight_smooth_factor": smooth.bfloat16(),
        f"{layer}.comfy_quant": note,
    }


INT8 = {"format": "int8_tensorwise"}
ROTATED = {"convrot": True, "convrot_groupsize": 64}
PACKERS: dict[str, tuple[Callable[[str, Tensor], dict[str, Tensor]], float]] = {
    "fp8": (kitchen("TensorCoreFP8Layout", {"format": "float8_e4m3fn"}), 0.03),
    "int8": (kitchen("TensorWiseINT8Layout", INT8), 0.015),
    "int8 by row": (kitchen("TensorWiseINT8Layout", INT8, per_channel=True), 0.01),
    "int8 convrot": (kitchen("TensorWiseINT8Layout", INT8 | ROTATED, per_channel=True, **ROTATED), 0.01),
    "int8 convrot, old name": (
        kitchen("TensorWiseINT8Layout", {"format": "int8_convrot", "params": ROTATED}, per_channel=True, **ROTATED),
        0.01,
    ),
    "nvfp4": (kitchen("TensorCoreNVFP4Layout", {"format": "nvfp4"}), 0.12),
    "mxfp8": (kitchen("TensorCoreMXFP8Layout", {"format": "mxfp8"}), 0.03),
    "w4a4 convrot": (
        kitchen(
            "TensorCoreConvRotW4A4Layout", {"format": "convrot_w4a4", "convrot_groupsize": 64}, convrot_groupsize=64
        ),
        0.15,
    ),
    "w4a8": (
        kitchen("AsymW4A8Int8Layout", {"format": "asym_w4a8_int8", "convrot_groupsize": 64}, convrot_groupsize=64),
        0.09,
    ),
    "svdquant": (svdquant, 0.2),
}
"""Every packing, and the most that it may move a weight (relative L2)."""


def write_packed(path: Path, pack: Callable[[str, Tensor], dict[str, Tensor]], prefix: str = "") -> None:
    """A transformer of WIDE_CONFIG whose blocks' linears are packed."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in wide_weights().items():
        tensors |= pack(key.removesuffix(".weight"), tensor) if is_packed(key) else {key: tensor}
    save_file({prefix + key: tensor.contiguous() for key, tensor in tensors.items()}, path)


def velocity(fast: FastTransformer, combine: Combine | None = None) -> Tensor:
    """One evaluation; with ``combine`` it is led away from another caption, as NAG does."""
    channels = int(fast.module.config.cap_feat_dim)
    prompt = fast.prompt(normal(20, channels, seed=3))
    other = AttentionGuidance(fast.prompt(normal(9, channels, seed=4)), combine, captions=False) if combine else None
    return fast.evaluation((8, 6), [prompt], [0.5], other)(normal(1, 16, 8, 6).to(fast.dtype), 0.5).float()
