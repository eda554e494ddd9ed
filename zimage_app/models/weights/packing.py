"""Recognises other tools' key names and quantisation formats of the same weights.

Reads headers and small metadata tensors only, so that an unsupported file is rejected before its weights are read. An
unknown format is rejected by name, because reading its bytes as plain numbers would give noise.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zimage_app.domain.errors import ModelError
from zimage_app.models.weights.gguf_file import ARCHITECTURE
from zimage_app.models.weights.weight_file import Reader, TensorEntry, Tensors, Weights, damaged

_METADATA_NOTE = "_quantization_metadata"
"""Metadata key of the header whose JSON describes the quantised layers."""
_NOTE = "comfy_quant"
"""Name of a layer's uint8 tensor with the same description of that layer as JSON."""
_MAX_NOTE = 65_536
_OLD_MARK = "scaled_fp8"
"""Name of a tensor that marks files of scaled 8-bit floats in the older layout; a shape of (2,) asks for full-precision
multiplication."""
_FULL_PRECISION = "full_precision_matrix_mult"
_SCALE = "weight_scale"
_RESPELLED = {
    "scale_weight": _SCALE,
    "scale_input": "input_scale",
    "proj_down": "weight_proj_down",
    "proj_up": "weight_proj_up",
    "smooth_factor": "weight_smooth_factor",
}
"""Older name of a weight's companion tensor -> name used here."""
_FLOAT8 = {torch.float8_e4m3fn: "float8_e4m3fn", torch.float8_e5m2: "float8_e5m2"}
_OLD_NAMES = {"int8": "int8_tensorwise", "int8_convrot": "int8_tensorwise"}
GGUF_BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
"""The supported packings of GGUF files."""


@dataclass(frozen=True, slots=True)
class Format:
    """One of ComfyUI's formats: dtypes of the stored weight and its companion tensors."""

    dtypes: tuple[torch.dtype, ...]
    """Allowed dtypes of the stored weight."""
    needs: tuple[str, ...]
    """Required companion tensors, such as ``weight_scale``."""
    may_have: tuple[str, ...] = ()
    packed: int = 1
    """Numbers per stored element."""


FORMATS = {
    "float8_e4m3fn": Format((torch.float8_e4m3fn, torch.uint8), (), (_SCALE, "input_scale")),
    "float8_e5m2": Format((torch.float8_e5m2, torch.uint8), (), (_SCALE, "input_scale")),
    "int8_tensorwise": Format((torch.int8,), (_SCALE,), ("input_scale",)),
    "nvfp4": Format((torch.uint8,), (_SCALE, "weight_scale_2"), ("input_scale",), packed=2),
    "mxfp8": Format((torch.float8_e4m3fn, torch.uint8), (_SCALE,), ("input_scale",)),
    "convrot_w4a4": Format((torch.int8, torch.uint8), (_SCALE,), packed=2),
    "asym_w4a8_int8": Format(
        (torch.int8, torch.uint8),
        ("weight_s_rel", "weight_s_channel"),
        ("weight_correction", "weight_codebook"),
        packed=2,
    ),
    "svdquant_w4a4": Format(
        (torch.int8, torch.uint8),
        (_SCALE, "weight_proj_down", "weight_proj_up", "weight_smooth_factor"),
        packed=2,
    ),
}
"""ComfyUI's formats, as comfy-kitchen defines them (docs/MODELS.md)."""

_COMPANIONS = frozenset(
    {role for item in FORMATS.values() for role in (*item.needs, *item.may_have)} | set(_RESPELLED) | {_NOTE}
)
_OTHER_TOOLS = {
    "bitsandbytes": re.compile(r"\.quant_state\.bitsandbytes|\.absmax$|\.SCB$"),
    "Nunchaku": re.compile(r"\.wscales$"),
    "GPTQ/AWQ": re.compile(r"\.qzeros$"),
    "quanto": re.compile(r"\.weight\._data$"),
    "compressed-tensors": re.compile(r"\.weight_packed$"),
    "torchao": re.compile(r"\.weight:_data:|_weight_qdata$"),
    "SDNQ": re.compile(r"\.svd_up$|\.zero_point$"),
    "NVIDIA ModelOpt": re.compile(r"\.pre_quant_scale$"),
}
"""Tool -> pattern of keys by which its files, which only that tool reads, are recognised."""
_BF16_OR_GGUF = (
    "use the bf16, fp8, int8 or GGUF file of this model",
    "请使用此模型的 bf16、fp8、int8 或 GGUF 文件",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as its file stores it."""

    key: str
    """Key in the file."""
    shape: tuple[int, ...]
    """Shape of the unpacked tensor."""
    format: str = ""
    """A key of FORMATS, or one of GGUF_BLOCKS; empty for plain numbers."""
    companions: Mapping[str, str] = field(default_factory=dict)
    """Companion tensors such as scales: role -> key in the file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The file's quantisation note on this tensor."""

    @property
    def empty(self) -> torch.Tensor:
        """An empty tensor of the same shape on device ``meta``."""
        return torch.empty(self.shape, device="meta")


def stored_tensors(weights: Weights, prefixes: tuple[str, ...]) -> dict[str, Stored]:
    """Return a file's tensors by key without prefix; companion tensors are attached to their weights.

    The prefix is the first of ``prefixes`` that any key has; tensors without it belong to another model and are left
    out.

    Raises ModelError, which names the tensor and the format, for an unsupported format.
    """
    _refuse_other_tools(weights)
    prefix = next((item for item in prefixes if any(key.startswith(item) for key in weights.entries)), "")
    entries = {key[len(prefix) :]: item for key, item in weights.entries.items() if key.startswith(prefix)}
    notes = _notes(weights, prefix, entries)
    mark = entries.get(_OLD_MARK)
    unnoted = {_FULL_PRECISION: True} if mark is not None and mark.shape == (2,) else {}
    companions: dict[str, dict[str, str]] = {}
    for key in entries:
        layer, _, role = key.rpartition(".")
        if role in _COMPANIONS and layer:
            companions.setdefault(layer, {})[_RESPELLED.get(role, role)] = prefix + key
    beside = {key for layer in companions.values() for key in layer.values()}
    found: dict[str, Stored] = {}
    for key, entry in entries.items():
        if prefix + key not in beside and key != _OLD_MARK:
            layer = key.removesuffix(".weight")
            given = companions.pop(layer, {}) if layer != key else {}
            found[key] = _with_format(
                weights, Stored(prefix + key, entry.shape, "", given, notes.get(layer, unnoted)), entry
            )
    _refuse_orphans(weights, companions)
    return found


def _with_format(weights: Weights, stored: Stored, entry: TensorEntry) -> Stored:
    """Return the tensor with its format and unpacked shape; raises ModelError for an unsupported format."""
    if entry.packing:
        if entry.packing not in GGUF_BLOCKS:
            raise _unsupported(weights, stored.key, entry.packing)
        return Stored(stored.key, stored.shape, entry.packing)
    name = _format(stored, entry)
    if not name:
        if entry.dtype in (torch.int8, torch.uint8) or _SCALE in stored.companions:
            kind = str(entry.dtype).removeprefix("torch.")
            raise _unsupported(weights, stored.key, f"{kind} with a scale" if stored.companions else kind)
        return Stored(stored.key, stored.shape)
    if name not in FORMATS:
        raise _unsupported(weights, stored.key, name)
    _check_companions(weights, stored, entry, name)
    roles = (*FORMATS[name].needs, *FORMATS[name].may_have)
    kept = {role: key for role, key in stored.companions.items() if role in roles}
    try:
        shape = _unpacked_shape(weights, stored, name)
    except (ValueError, TypeError, IndexError) as error:
        raise _unreadable(weights) from error
    return Stored(stored.key, shape, name, kept, stored.settings)


def _format(stored: Stored, entry: TensorEntry) -> str:
    """Return the format named in the note or implied by dtype and companions; empty for plain numbers."""
    noted = str(stored.settings.get("format", ""))
    if noted:
        return _OLD_NAMES.get(noted, noted)
    if entry.dtype in _FLOAT8 and len(entry.shape) == 2:
        return _FLOAT8[entry.dtype]
    if entry.dtype == torch.int8 and _SCALE in stored.companions:
        return "int8_tensorwise"
    return str(dict(stored.settings)) if set(stored.settings) - {_FULL_PRECISION} else ""


def _check_companions(weights: Weights, stored: Stored, entry: TensorEntry, name: str) -> None:
    lost = [role for role in FORMATS[name].needs if role not in stored.companions]
    if lost:
        raise damaged(
            weights.path,
            f"holds {stored.key} as {name}, but without its {lost[0]}; download it again",
            f"中的 {stored.key} 采用 {name}，但缺少 {lost[0]}；请重新下载",
        )
    if entry.dtype not in FORMATS[name].dtypes or len(entry.shape) != 2:
        kind = str(entry.dtype).removeprefix("torch.")
        raise damaged(
            weights.path,
            f"says that {stored.key} is {name}, but stores it as {kind} of shape {entry.shape}; download it again",
            f"称 {stored.key} 为 {name}，实际却以 {kind}、形状 {entry.shape} 存储；请重新下载",
        )
    if name.startswith(("float8", "int8")) and _SCALE in stored.companions:
        scale = stored.companions[_SCALE]
        shape = weights.entries[scale].shape
        if math.prod(shape) not in (1, entry.shape[0]):
            raise damaged(
                weights.path,
                f"holds {scale} with shape {shape}, but one scale or {entry.shape[0]} are needed; download it again",
                f"中 {scale} 的形状为 {shape}，而应为 1 个或 {entry.shape[0]} 个缩放值；请重新下载",
            )


def _unpacked_shape(weights: Weights, stored: Stored, name: str) -> tuple[int, ...]:
    """Return the unpacked shape (out, in) of a packed weight."""
    if name == "svdquant_w4a4":
        inputs = weights.entries[stored.companions["weight_smooth_factor"]].shape[0]
        return stored.shape[0], inputs
    if name == "asym_w4a8_int8":
        groups = weights.entries[stored.companions["weight_s_rel"]].shape[-1]
        return stored.shape[0], groups * int(setting(stored, "group_size", 16))
    return (*stored.shape[:-1], stored.shape[-1] * FORMATS[name].packed)


def unpacks_first(stored: Stored) -> bool:
    """Whether the file asks for multiplication in full precision."""
    return bool(setting(stored, _FULL_PRECISION, default=False))


def setting(stored: Stored, name: str, default: Any) -> Any:
    """Return an option of a packed weight from its note or the note's ``params``, or else ``default``."""
    params = stored.settings.get("params")
    inner = params if isinstance(params, dict) else {}
    if name == "convrot" and stored.settings.get("format") == "int8_convrot":
        return True
    return stored.settings.get(name, inner.get(name, default))


def _notes(weights: Weights, prefix: str, entries: Mapping[str, TensorEntry]) -> dict[str, dict[str, Any]]:
    """Return the quantisation notes of the file's layers, by layer name without the prefix."""
    layers = _json(weights, weights.metadata.get(_METADATA_NOTE, "{}")).get("layers", {})
    if not isinstance(layers, dict):
        raise _unreadable(weights)
    notes = {name.removeprefix(prefix): note for name, note in layers.items()}
    reader = Reader(weights)
    for key, entry in entries.items():
        layer, _, role = key.rpartition(".")
        if role == _NOTE and layer not in notes:
            if len(entry.shape) != 1 or entry.shape[0] > _MAX_NOTE:
                raise _unreadable(weights)
            notes[layer] = _json(weights, bytes(reader(prefix + key).tolist()))
    return {name: note if isinstance(note, dict) else {"format": note} for name, note in notes.items()}


def _json(weights: Weights, text: str | bytes) -> dict[str, Any]:
    """Parse the JSON of a quantisation note; raises ModelError if it is invalid."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise _unreadable(weights) from error


def _unreadable(weights: Weights) -> ModelError:
    return damaged(
        weights.path,
        "has an unreadable note on its quantisation; download it again",
        "的量化说明无法读取；请重新下载",
    )


def _unsupported(weights: Weights, key: str, name: str) -> ModelError:
    cure, cure_zh = _BF16_OR_GGUF
    return damaged(
        weights.path,
        f"holds {key} quantised as {name}, which is not supported; {cure}",
        f"中的 {key} 采用不支持的量化格式 {name}；{cure_zh}",
    )


def _refuse_other_tools(weights: Weights) -> None:
    cure, cure_zh = _BF16_OR_GGUF
    for tool, mark in _OTHER_TOOLS.items():
        key = next((key for key in weights.entries if mark.search(key)), None)
        if key is not None:
            raise damaged(
                weights.path,
                f"was quantised with {tool} ({key}), whose files only that tool reads; {cure}",
                f"由 {tool} 量化（{key}），只有该工具能读取；{cure_zh}",
            )


def _refuse_orphans(weights: Weights, companions: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ModelError if there are companion tensors whose weight is missing."""
    for layer, keys in companions.items():
        first = next(iter(keys.values()))
        raise damaged(
            weights.path,
            f"holds {first} but no {layer}.weight; download it again",
            f"中有 {first} 而没有 {layer}.weight；请重新下载",
        )


_TRANSFORMER_NAMES = {
    "x_embedder.": "all_x_embedder.2-1.",
    "final_layer.": "all_final_layer.2-1.",
    ".attention.q_norm.": ".attention.norm_q.",
    ".attention.k_norm.": ".attention.norm_k.",
    ".attention.out.": ".attention.to_out.0.",
}
"""Parts of the original names, and diffusers' in their stead."""
_FUSED = ".attention.qkv."


def transformer_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Convert the transformer's original names (``x_embedder``, fused ``attention.qkv``) to diffusers' names."""
    del config
    named = tensors
    if any(_FUSED in key or key.startswith("x_embedder.") for key in tensors):
        named = {}
        for key, tensor in tensors.items():
            named |= _transformer_weight(key, tensor)
    pads = ("x_pad_token", "cap_pad_token")
    return {key: tensor[None] if key in pads and tensor.ndim == 1 else tensor for key, tensor in named.items()}


def _transformer_weight(key: str, tensor: Tensor) -> Tensors:
    if key == "norm_final.weight":  # in the files, and used by nobody
        return {}
    if _FUSED in key:
        parts = zip(("to_q", "to_k", "to_v"), tensor.chunk(3), strict=True)
        return {key.replace("qkv", name): part for name, part in parts}
    for old, new in _TRANSFORMER_NAMES.items():
        if key.startswith(old) or (old.startswith(".") and old in key):
            return {key.replace(old, new, 1): tensor}
    return {key: tensor}


_VAE_NAMES = {
    r"(encoder|decoder)\.mid\.block_1\.": r"\1.mid_block.resnets.0.",
    r"(encoder|decoder)\.mid\.block_2\.": r"\1.mid_block.resnets.1.",
    r"(encoder|decoder)\.mid\.attn_1\.norm\.": r"\1.mid_block.attentions.0.group_norm.",
    r"(encoder|decoder)\.mid\.attn_1\.([qkv])\.": r"\1.mid_block.attentions.0.to_\2.",
    r"(encoder|decoder)\.mid\.attn_1\.proj_out\.": r"\1.mid_block.attentions.0.to_out.0.",
    r"(encoder|decoder)\.norm_out\.": r"\1.conv_norm_out.",
    r"encoder\.down\.(\d)\.block\.(\d)\.": r"encoder.down_blocks.\1.resnets.\2.",
    r"encoder\.down\.(\d)\.downsample\.": r"encoder.down_blocks.\1.downsamplers.0.",
    r"decoder\.up\.(\d)\.block\.(\d)\.": r"decoder.up_blocks.\1.resnets.\2.",
    r"decoder\.up\.(\d)\.upsample\.": r"decoder.up_blocks.\1.upsamplers.0.",
}
"""How the original names begin, and diffusers' in their stead."""


def vae_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Convert the VAE's original names (``mid.block_1``) to diffusers' names."""
    if not any(".mid.block_1." in key for key in tensors):
        return tensors
    last = len(config.get("block_out_channels", ())) - 1
    named = {_vae_name(key, last): tensor for key, tensor in tensors.items()}
    # There, the attention's matrices are convolutions of one pixel.
    flat = re.compile(r"(en|de)coder\.mid_block\.attentions\.0\.to_.*weight")
    return {
        key: tensor[..., 0, 0] if tensor.ndim == 4 and flat.fullmatch(key) else tensor for key, tensor in named.items()
    }


def _vae_name(key: str, last: int) -> str:
    # The original counts the decoder's levels from the picture's size, diffusers from the latent's.
    key = re.sub(r"^decoder\.up\.(\d)\.", lambda found: f"decoder.up.{last - int(found[1])}.", key)
    key = key.replace(".nin_shortcut.", ".conv_shortcut.")
    for pattern, name in _VAE_NAMES.items():
        new, found = re.subn(f"^{pattern}", name, key)
        if found:
            return new
    return key


_LLAMA_BLOCKS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA_NAMES = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
"""llama.cpp's name of a Qwen3 module -> transformers' name; the weights' layout is the same."""


def text_names(tensors: Tensors, config: Mapping[str, Any]) -> Tensors:
    """Return the weights without the unused ones: last layer, final norm and head (``networks/qwen3.py``)."""
    last = f"layers.{int(config['num_hidden_layers']) - 1}."
    unused = ("norm.weight", "lm_head.weight")
    named = {_from_llama(key): tensor for key, tensor in tensors.items()}
    return {key: tensor for key, tensor in named.items() if key not in unused and not key.startswith(last)}


def _from_llama(key: str) -> str:
    module, dot, kind = key.rpartition(".")
    words = module.split(".")
    if words[0] == "blk" and len(words) == 3 and words[2] in _LLAMA_BLOCKS:
        return f"layers.{words[1]}.{_LLAMA_BLOCKS[words[2]]}{dot}{kind}"
    return f"{_LLAMA_NAMES[module]}{dot}{kind}" if module in _LLAMA_NAMES else key


def architecture(weights: Weights) -> str:
    """Return the architecture in a GGUF file's metadata, such as ``lumina2``; empty for other files."""
    return weights.metadata.get(ARCHITECTURE, "")
