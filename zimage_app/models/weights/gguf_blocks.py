"""Unpacks GGUF blocks on any device, to the same bits as diffusers' functions.

diffusers' functions copy constants to the device at each call; on CUDA such a copy blocks the host and can't be
captured in a graph. These functions compute the constants on the device. Layouts: ggml's ``ggml-common.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_SCALES = 12
"""Bytes of the eight 6-bit scales and minima in a block of Q4_K and Q5_K."""
_CODES = struct.unpack(
    "<2q", struct.pack("16b", *(-127, -104, -83, -65, -49, -35, -22, -10), *(1, 13, 25, 38, 53, 69, 89, 113))
)
"""The 16 values of IQ4_NL and IQ4_XS, eight in each number."""


def unpacked(blocks: Tensor, packing: str) -> Tensor:
    """Unpack GGUF blocks (any shape, uint8) to a flat float32 tensor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[packing]]
    return _UNPACK[packing](blocks.reshape(-1, size)).flatten()


def _parts(blocks: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """Cut (n, bytes) into parts of these bytes; the last part is the rest."""
    return torch.split(blocks, [*sizes, blocks.shape[1] - sum(sizes)], 1)


def _half(part: Tensor) -> Tensor:
    """(n, 2) bytes -> (n, 1) numbers."""
    return part.view(torch.float16).float()


def _fields(part: Tensor, bits: int, width: int) -> Tensor:
    """Cut bytes (n, groups * width) into (n, groups * 8 / bits * width) bit fields, each group's lowest bits first."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=part.device)
    groups = part.reshape(part.shape[0], -1, 1, width)
    fields: Tensor = groups >> shifts[:, None] & 2**bits - 1
    return fields.flatten(1)


def _runs(values: Tensor, count: int) -> Tensor:
    """(n, numbers) -> (n, count, numbers / count): the numbers that share a scale."""
    return values.reshape(values.shape[0], count, -1)


def _coded(fields: Tensor) -> Tensor:
    """Map 4-bit fields to the values of the code book."""
    shifts = torch.arange(0, 64, 8, device=fields.device)
    book = torch.cat([(torch.full_like(shifts, half) >> shifts & 255).to(torch.uint8) for half in _CODES])
    return book.view(torch.int8).float()[fields.long()]


def _q4_0(blocks: Tensor) -> Tensor:
    scale, low = _parts(blocks, 2)
    return _half(scale) * (_fields(low, 4, 16).to(torch.int8) - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    scale, least, low = _parts(blocks, 2, 2)
    return _half(scale) * _fields(low, 4, 16) + _half(least)


def _q5_0(blocks: Tensor) -> Tensor:
    scale, high, low = _parts(blocks, 2, 4)
    return _half(scale) * ((_fields(low, 4, 16) | _fields(high, 1, 1) << 4).to(torch.int8) - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    scale, least, high, low = _parts(blocks, 2, 2, 4)
    return _half(scale) * (_fields(low, 4, 16) | _fields(high, 1, 1) << 4) + _half(least)


def _q8_0(blocks: Tensor) -> Tensor:
    scale, values = _parts(blocks, 2)
    return _half(scale) * values.view(torch.int8)


def _q2_k(blocks: Tensor) -> Tensor:
    scales, low, scale, least = _parts(blocks, 16, 64, 2)
    factors, offsets = _half(scale) * (scales & 15), _half(least) * (scales >> 4)
    return factors[..., None] * _runs(_fields(low, 2, 32), 16) - offsets[..., None]


def _q3_k(blocks: Tensor) -> Tensor:
    mask, low, scales, scale = _parts(blocks, 32, 64, 12)
    sixths = (_fields(scales[:, :8], 4, 8) | _fields(scales[:, 8:], 2, 4) << 4).to(torch.int8) - 32
    values = _fields(low, 2, 32).to(torch.int8) - ((_fields(mask, 1, 32) ^ 1) << 2).to(torch.int8)
    return (_half(scale) * sixths)[..., None] * _runs(values, 16)


def _with_minima(scale: Tensor, least: Tensor, scales: Tensor, values: Tensor) -> Tensor:
    """Scale and shift eight runs of Q4_K or Q5_K."""
    first, second, both = _parts(scales, 4, 4)
    factors = torch.cat([first & 63, both & 15 | first >> 2 & 48], 1)
    offsets = torch.cat([second & 63, both >> 4 | second >> 2 & 48], 1)
    return (_half(scale) * factors)[..., None] * _runs(values, 8) - (_half(least) * offsets)[..., None]


def _q4_k(blocks: Tensor) -> Tensor:
    scale, least, scales, low = _parts(blocks, 2, 2, _SCALES)
    return _with_minima(scale, least, scales, _fields(low, 4, 32))


def _q5_k(blocks: Tensor) -> Tensor:
    scale, least, scales, high, low = _parts(blocks, 2, 2, _SCALES, 32)
    return _with_minima(scale, least, scales, _fields(low, 4, 32) | _fields(high, 1, 32) << 4)


def _q6_k(blocks: Tensor) -> Tensor:
    low, high, scales, scale = _parts(blocks, 128, 64, 16)
    values = (_fields(low, 4, 64) | _fields(high, 2, 32) << 4).to(torch.int8) - 32
    return (_half(scale) * scales.view(torch.int8))[..., None] * _runs(values, 16)


def _iq4_nl(blocks: Tensor) -> Tensor:
    scale, low = _parts(blocks, 2)
    return _half(scale) * _coded(_fields(low, 4, 16))


def _iq4_xs(blocks: Tensor) -> Tensor:
    scale, high, scales, low = _parts(blocks, 2, 2, 4)
    sixths = (_fields(scales, 4, 1) | _fields(high, 2, 1) << 4).to(torch.int8) - 32
    return (_half(scale) * sixths)[..., None] * _coded(_runs(_fields(low, 4, 16), 8))


_UNPACK: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
}
"""Blocks (n, bytes) -> float32 numbers, n rows."""
