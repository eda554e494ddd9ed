"""Weights that stay packed in memory, and the linear and embedding modules that compute with them.

If the device supports its format, a packed weight is multiplied in that format; otherwise it is unpacked at each use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zimage_app.models.weights.gguf_blocks import unpacked
from zimage_app.models.weights.packing import GGUF_BLOCKS, Stored, setting
from zimage_app.models.weights.weight_file import Reader

_CACHED_NUMBERS = 2**18
"""Numbers unpacked at a time on the CPU: 1 MB in float32."""
_KITCHEN_GROUP = 256
"""Default number of input features that ConvRot rotates together."""


class PackedWeight(Protocol):
    """A quantised matrix (out, in)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the unpacked matrix."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that holds the weight."""
        ...

    def dense(self) -> Tensor:
        """Return the unpacked matrix (out, in)."""
        ...

    def linear(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., out), in the dtype of ``x``."""
        ...

    def moved(self, move: Callable[[Tensor], Tensor]) -> PackedWeight:
        """The same weight of tensors that have been through ``move``, still packed."""
        ...


@dataclass(frozen=True, slots=True)
class GgufWeight:
    """Rows of GGUF blocks. No block spans two rows, so rows can be unpacked separately."""

    blocks: Tensor
    """(out, bytes per row), uint8."""
    packing: str
    shape: tuple[int, int]
    dtype: torch.dtype
    """Dtype of the unpacked numbers."""

    @property
    def device(self) -> torch.device:
        """The device that holds the weight."""
        return self.blocks.device

    def dense(self) -> Tensor:
        """Return the unpacked matrix (out, in), computed in float32."""
        if self.device.type != "cpu":
            return unpacked(self.blocks, self.packing).reshape(self.shape).to(self.dtype)
        # In portions that fit into the CPU's cache: several times faster, and without a large float32 intermediate.
        numbers = torch.empty(self.shape, dtype=self.dtype)
        rows = max(1, _CACHED_NUMBERS // self.shape[1])
        for part, blocks in zip(torch.split(numbers, rows), torch.split(self.blocks, rows), strict=True):
            part.copy_(unpacked(blocks, self.packing).view_as(part))
        return numbers

    def linear(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., out)."""
        return F.linear(x, self.dense())

    def moved(self, move: Callable[[Tensor], Tensor]) -> GgufWeight:
        """See ``PackedWeight``."""
        return replace(self, blocks=move(self.blocks))

    def rows(self, indices: Tensor) -> Tensor:
        """Return the rows of ``indices`` (...), unpacked: (..., in)."""
        taken = unpacked(self.blocks[indices.flatten()], self.packing)
        return taken.reshape(*indices.shape, self.shape[1]).to(self.dtype)


@dataclass(frozen=True, slots=True)
class Float8Weight:
    """8-bit floats with one scale, a scale per row, or none."""

    stored: Tensor
    scale: Tensor | None
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.stored.shape
        return rows, columns

    @property
    def device(self) -> torch.device:
        """The device that holds the weight."""
        return self.stored.device

    def dense(self) -> Tensor:
        """Return stored * scale, multiplied in float32."""
        if self.scale is None:
            return self.stored.to(self.dtype)
        return self.stored.to(torch.float32).mul_(self.scale.float().reshape(-1, 1)).to(self.dtype)

    def linear(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., out)."""
        return F.linear(x, self.dense())

    def moved(self, move: Callable[[Tensor], Tensor]) -> Float8Weight:
        """See ``PackedWeight``."""
        return replace(self, stored=move(self.stored), scale=None if self.scale is None else move(self.scale))


@dataclass(frozen=True, slots=True)
class KitchenWeight:
    """A weight in one of ComfyUI's formats, held and multiplied by comfy-kitchen."""

    tensor: Any
    """comfy-kitchen's ``QuantizedTensor``."""
    native: bool
    """Whether the weight is multiplied in its format; otherwise it is unpacked at each use."""
    input_layout: str | None
    """Layout that the input must be quantised to; None if the kernel does that itself."""
    input_scale: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.tensor.shape
        return rows, columns

    @property
    def device(self) -> torch.device:
        """The device that holds the weight."""
        device: torch.device = self.tensor.device
        return device

    def dense(self) -> Tensor:
        """Return the unpacked matrix (out, in)."""
        numbers: Tensor = self.tensor.dequantize()
        return numbers

    def linear(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., out); in 8- or 4-bit arithmetic if ``native``."""
        if not self.native:
            return F.linear(x, self.dense())
        if self.input_layout is None:
            return F.linear(x, self.tensor).to(x.dtype)
        from comfy_kitchen.tensor import QuantizedTensor

        # Layouts with a quantised input accept matrices only.
        flat = QuantizedTensor.from_float(x.reshape(-1, x.shape[-1]), self.input_layout, scale=self.input_scale)
        return F.linear(flat, self.tensor).to(x.dtype).reshape(*x.shape[:-1], -1)

    def moved(self, move: Callable[[Tensor], Tensor]) -> KitchenWeight:
        """See ``PackedWeight``."""
        params = self.tensor.params
        values = {item.name: getattr(params, item.name) for item in fields(params)}
        moved = {name: move(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        tensor = type(self.tensor)(move(self.tensor._qdata), self.tensor._layout_cls, type(params)(**moved))
        scale = None if self.input_scale is None else move(self.input_scale)
        return replace(self, tensor=tensor, input_scale=scale)


def packed_weight(
    stored: Stored, reader: Reader, device: torch.device, dtype: torch.dtype, native: bool
) -> PackedWeight:
    """Return a file's packed weight on ``device``; it unpacks to ``dtype``. On the CPU it stays memory-mapped.

    Raises ModelError if the file can't be read, ValueError if its tensors don't fit together.
    """
    rows, columns = stored.shape
    weight = reader(stored.key).to(device)
    if stored.format in GGUF_BLOCKS:
        return GgufWeight(weight.view(rows, -1), stored.format, (rows, columns), dtype)
    beside = {role: reader(key).to(device) for role, key in stored.companions.items()}
    if stored.format.startswith("float8"):
        scale = beside.get("weight_scale")
        weight = weight.view(getattr(torch, stored.format))
        if scale is None or scale.numel() > 1 or not native:
            return Float8Weight(weight, scale, dtype)
    return _kitchen_weight(stored, weight, beside, dtype, native)


def _kitchen_weight(
    stored: Stored, weight: Tensor, beside: Mapping[str, Tensor], dtype: torch.dtype, native: bool
) -> KitchenWeight:
    from comfy_kitchen.tensor import QuantizedTensor, get_layout_class

    if stored.format == "svdquant_w4a4":
        # svdquant computes in one dtype, so scales and factors are converted to it.
        beside = {role: tensor.to(dtype) for role, tensor in beside.items()}
    layout, options, packs_input = _LAYOUTS[stored.format](stored, beside)
    scale = options.pop("scale") if "scale" in options else beside["weight_scale"]
    params = get_layout_class(layout).Params(scale=scale, orig_dtype=dtype, orig_shape=stored.shape, **options)
    tensor = QuantizedTensor(weight.view(_STORED_AS.get(stored.format, weight.dtype)), layout, params)
    return KitchenWeight(tensor, native, layout if packs_input else None, beside.get("input_scale"))


_STORED_AS = {
    "mxfp8": torch.float8_e4m3fn,
    "convrot_w4a4": torch.int8,
    "asym_w4a8_int8": torch.int8,
    "svdquant_w4a4": torch.int8,
}
"""Format -> dtype that comfy-kitchen's layout expects; some tools store the bytes as uint8."""

_Layout = tuple[str, dict[str, Any], bool]
"""(comfy-kitchen's name of the layout, its parameters, whether the input must be quantised for it)."""


def _float8(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    del stored
    return "TensorCoreFP8Layout", {"scale": beside["weight_scale"].reshape(())}, True


def _int8(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    del beside
    rotated = bool(setting(stored, "convrot", default=False))
    group = int(setting(stored, "convrot_groupsize", _KITCHEN_GROUP))
    return "TensorWiseINT8Layout", {"convrot": rotated, "convrot_groupsize": group}, False


def _nvfp4(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    del stored
    blocks = beside["weight_scale"].view(torch.float8_e4m3fn)
    return "TensorCoreNVFP4Layout", {"scale": beside["weight_scale_2"].reshape(()), "block_scale": blocks}, True


def _mxfp8(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    del stored
    return "TensorCoreMXFP8Layout", {"scale": beside["weight_scale"].view(torch.float8_e8m0fnu)}, True


def _convrot_w4a4(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    del beside
    options = {
        "convrot_groupsize": int(setting(stored, "convrot_groupsize", _KITCHEN_GROUP)),
        "linear_dtype": str(setting(stored, "linear_dtype", "int4")),
    }
    return "TensorCoreConvRotW4A4Layout", options, False


def _asym_w4a8(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    relative = beside["weight_s_rel"]
    options = {
        "scale": relative.view(torch.float8_e4m3fn) if relative.dtype == torch.uint8 else relative,
        "s_channel": beside["weight_s_channel"],
        "correction": beside.get("weight_correction"),
        "codebook": beside.get("weight_codebook"),
        "group_size": int(setting(stored, "group_size", 16)),
        "convrot_groupsize": int(setting(stored, "convrot_groupsize", _KITCHEN_GROUP)),
    }
    return "AsymW4A8Int8Layout", options, False


def _svdquant(stored: Stored, beside: Mapping[str, Tensor]) -> _Layout:
    options = {
        "proj_down": beside["weight_proj_down"],
        "proj_up": beside["weight_proj_up"],
        "smooth_factor": beside["weight_smooth_factor"],
        "act_unsigned": bool(setting(stored, "act_unsigned", default=False)),
    }
    return "TensorCoreSVDQuantW4A4Layout", options, False


_LAYOUTS = {
    "float8_e4m3fn": _float8,
    "int8_tensorwise": _int8,
    "nvfp4": _nvfp4,
    "mxfp8": _mxfp8,
    "convrot_w4a4": _convrot_w4a4,
    "asym_w4a8_int8": _asym_w4a8,
    "svdquant_w4a4": _svdquant,
}


@dataclass(frozen=True, slots=True)
class LowRankBranch:
    """A low-rank term added to a linear's output: x -> up (down x)."""

    down: Tensor
    """(rank, in)."""
    up: Tensor
    """(out, rank), multiplied by strengths and scales."""


class PackedLinear(nn.Module):
    """A linear whose weight stays packed.

    Args:
        weight: the packed weight; several linears may share it, each using its own rows.
        rows: this linear's first row in the weight, and the row after its last.
    """

    def __init__(self, weight: PackedWeight, rows: tuple[int, int]) -> None:
        super().__init__()
        self.weight = weight
        self.rows = rows
        self.bias: nn.Parameter | None = None
        self.branch: LowRankBranch | None = None
        self.patched_weight: Tensor | None = None
        """(out, in): a plain matrix used instead of the packed weight while it is set."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.rows[1] - self.rows[0], self.weight.shape[1]

    def dense(self) -> Tensor:
        """Return this linear's rows of the weight, unpacked (out, in), without branch and merged matrix."""
        return self.weight.dense()[self.rows[0] : self.rows[1]]

    def forward(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., out)."""
        if self.patched_weight is not None:
            return self.finished(x, F.linear(x, self.patched_weight))
        return self.finished(x, self.weight.linear(x)[..., self.rows[0] : self.rows[1]])

    def finished(self, x: Tensor, product: Tensor) -> Tensor:
        """Add the low-rank branch and the bias to the weight's product with ``x``."""
        if self.branch is not None:
            product = product + F.linear(F.linear(x, self.branch.down), self.branch.up)
        return product if self.bias is None else product + self.bias


class StackedLinear:
    """Linears that share one packed weight, evaluated in one multiplication."""

    def __init__(self, linears: Sequence[PackedLinear]) -> None:
        self._linears = linears

    @classmethod
    def of(cls, linears: Sequence[PackedLinear]) -> StackedLinear | None:
        """Combine linears; None unless their rows, in order, are all rows of one shared weight."""
        weight, last = linears[0].weight, 0
        for linear in linears:
            if linear.weight is not weight or linear.rows[0] != last:
                return None
            last = linear.rows[1]
        return cls(linears) if last == weight.shape[0] else None

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply: (..., in) -> (..., sum of all out), the linears' outputs concatenated."""
        if any(linear.patched_weight is not None for linear in self._linears):
            return torch.cat([linear(x) for linear in self._linears], -1)
        product = self._linears[0].weight.linear(x)
        parts = torch.split(product, [linear.shape[0] for linear in self._linears], -1)
        if all(linear.branch is None and linear.bias is None for linear in self._linears):
            return product
        return torch.cat([linear.finished(x, part) for linear, part in zip(self._linears, parts, strict=True)], -1)


class PackedEmbedding(nn.Module):
    """An embedding whose rows stay packed."""

    def __init__(self, weight: GgufWeight) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, indices: Tensor) -> Tensor:
        """Look up: (...) -> (..., channels)."""
        return self.weight.rows(indices)


def packed_linears(module: nn.Module) -> dict[str, PackedLinear]:
    """Return all packed linears of a module by name."""
    return {name: item for name, item in module.named_modules() if isinstance(item, PackedLinear)}
