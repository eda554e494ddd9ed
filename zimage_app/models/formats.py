"""Other tools' spellings of the same weights: key names and 8-bit scales, brought to what the modules expect.

Works on outlines (device ``meta``) just as on real tensors, so that a file is judged before it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zimage_app.domain.errors import ModelError
from zimage_app.models.files import Tensors, Weights, damaged

_SCALES = (".scale_weight", ".weight_scale")
"""Two spellings of the factor of an 8-bit weight: ``w = stored * scale``, per tensor or per row."""
_SCALE_COMPANIONS = (*_SCALES, ".scale_input", ".input_scale", ".comfy_quant")
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def without_prefix(tensors: Tensors, prefixes: tuple[str, ...]) -> Tensors:
    """Keys without the first of ``prefixes`` that any of them has; what lies outside it belongs to another model."""
    for prefix in prefixes:
        inside = {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if inside:
            return inside
    return tensors


def check_quantisation(weights: Weights, outline: Tensors) -> None:
    """Refuse every quantised format that ``descaled`` does not undo; read as plain numbers they would give noise.

    Raises ModelError that names the tensor and the format.
    """
    noted = _note(weights, weights.metadata.get("_quantization_metadata", "{}")).get("layers", {})
    formats = {layer: _format(note) for layer, note in noted.items()}
    for key, tensor in outline.items():
        layer, _, suffix = key.rpartition(".")
        if suffix == "comfy_quant":
            formats[layer] = _format(_note(weights, bytes(tensor.tolist())))
        scaled = any(layer + scale in outline for scale in _SCALES)
        if suffix == "weight" and tensor.dtype in (torch.int8, torch.uint8):
            formats.setdefault(layer, str(tensor.dtype).removeprefix("torch."))
        elif suffix == "weight" and scaled and tensor.dtype not in _FLOAT8:
            raise _unsupported(weights, layer, f"{tensor.dtype} with a scale")
    for layer, name in formats.items():
        if not name.startswith("float8"):
            raise _unsupported(weights, layer, name)


def _note(weights: Weights, text: str | bytes) -> dict[str, Any]:
    """What a file says of its own quantisation."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise damaged(
            weights.path,
            "has an unreadable note on its quantisation; download it again",
            "的量化说明无法读取；请重新下载",
        ) from error


def _format(note: Any) -> str:
    """The format that a note names, or the whole note where it names none."""
    return str(note.get("format", note)) if isinstance(note, dict) else str(note)


def _unsupported(weights: Weights, layer: str, name: str) -> ModelError:
    return damaged(
        weights.path,
        f"holds {layer} quantised as {name}, which is not supported; use the bf16 or fp8 file of this model",
        f"中的 {layer} 采用不支持的量化格式 {name}；请使用此模型的 bf16 或 fp8 文件",
    )


def descaled(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """ComfyUI's 8-bit floats as plain weights of ``dtype``, multiplied by their scales in float32."""
    plain: Tensors = {}
    for key, tensor in tensors.items():
        if key == "scaled_fp8" or key.endswith(_SCALE_COMPANIONS):
            continue
        layer = key.removesuffix(".weight")
        scale = next((tensors[layer + name] for name in _SCALES if layer + name in tensors), None)
        if tensor.dtype in _FLOAT8:
            plain[key] = _times(tensor, scale).to(dtype)
        else:
            plain[key] = tensor
    return plain


def _times(stored: Tensor, scale: Tensor | None) -> Tensor:
    values = stored.to(torch.float32)
    if scale is None:
        return values
    rows = scale.float().reshape(()) if scale.numel() == 1 else scale.float().reshape(-1, *[1] * (stored.ndim - 1))
    return values * rows


def transformer_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The original names (``x_embedder``, fused ``attention.qkv``) as diffusers'."""
    del config
    named = tensors
    if any(".attention.qkv." in key or key.startswith("x_embedder.") for key in tensors):
        from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers

        named = convert_z_image_transformer_checkpoint_to_diffusers(dict(tensors))
    pads = ("x_pad_token", "cap_pad_token")
    return {key: tensor[None] if key in pads and tensor.ndim == 1 else tensor for key, tensor in named.items()}


def vae_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """The original names (``mid.block_1``) as diffusers'."""
    if not any(".mid.block_1." in key for key in tensors):
        return tensors
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    converted: Tensors = convert_ldm_vae_checkpoint(dict(tensors), config)
    return converted


def text_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Without what is never computed: the last layer, the final norm and the head (see ``text.py``)."""
    last = f"layers.{int(config['num_hidden_layers']) - 1}."
    unused = ("norm.weight", "lm_head.weight")
    return {key: tensor for key, tensor in tensors.items() if key not in unused and not key.startswith(last)}
