"""What the tests of GGUF files share: valid blocks in every packing, and files of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights

QUANTISED_HERE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""What the gguf package can pack; of the others it can unpack valid blocks."""


def write_gguf(path: Path, tensors: Mapping[str, tuple[Any, str]], architecture: str = "lumina2") -> None:
    """A GGUF file of named arrays (bytes of blocks where packed) with their packings."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_array("tokenizer.ggml.tokens", [f"word {number}" for number in range(40)])
    for key, (array, packing) in tensors.items():
        kind = gguf.GGMLQuantizationType[packing]
        writer.add_tensor(key, np.ascontiguousarray(array), raw_dtype=kind if array.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def packed_as(tensor: Tensor, packing: str) -> tuple[Any, str, Tensor]:
    """A tensor's array, its packing, and the numbers that this stands for."""
    kind = gguf.GGMLQuantizationType[packing]
    numbers = gguf.GGML_QUANT_SIZES[kind][0]
    if tensor.shape[-1] % numbers or packing == "F32":
        return tensor.numpy(), "F32", tensor
    if packing in QUANTISED_HERE or packing == "BF16":
        array = gguf.quants.quantize(tensor.numpy(), kind)
    elif packing == "F16":
        array = tensor.numpy().astype(np.float16)
    else:
        array = blocks(tuple(tensor.shape), packing, seed=tensor.shape[0])
    return array, packing, torch.from_numpy(np.array(gguf.quants.dequantize(array, kind)))


def write_pair(folder: Path, packing: str, prefix: str = "", others: str = "F32") -> tuple[Path, Path]:
    """The golden transformer with packed linears as GGUF, and the numbers that it stands for as safetensors."""
    stored, meant = {}, {}
    for key, half in tiny_weights().items():
        tensor = half.float()
        array, kind, value = packed_as(tensor, packing if tensor.ndim == 2 else others)
        stored[prefix + key], meant[key] = (array, kind), value.reshape(tensor.shape)
    write_gguf(folder / "packed.gguf", stored)
    save_file(meant, folder / "meant.safetensors")
    return folder / "packed.gguf", folder / "meant.safetensors"


def blocks(shape: tuple[int, ...], packing: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """Bytes of valid GGUF blocks for a weight of a shape: random codes, small scales."""
    kind = gguf.GGMLQuantizationType[packing]
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (*shape[:-1], shape[-1] // numbers, size), dtype=np.uint8)
    for first in _SCALES[packing]:
        small = (random.random(raw.shape[:-1]) * 1e-4).astype(np.float16)
        raw[..., first : first + 2] = small[..., None].view(np.uint8)
    return raw.reshape(*shape[:-1], -1)


_SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,)} | {
    packing: (0, 2) if packing in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else (0,)
    for packing in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "IQ4_NL", "IQ4_XS")
}
"""Where the float16 scales of a block stand."""
