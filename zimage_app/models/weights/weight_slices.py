"""Maps weights of a module to tensors of a file, or rows of them, and reads those weights packed or unpacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zimage_app.models.weights.packed_weights import GgufWeight, PackedWeight, packed_weight
from zimage_app.models.weights.packing import GGUF_BLOCKS, Stored, unpacks_first
from zimage_app.models.weights.placement import MemoryPlan, PackedMode
from zimage_app.models.weights.weight_file import Reader, Weights, damaged


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """The part of a stored tensor that is one weight of a module; a file may store q, k and v as one tensor."""

    stored: Stored
    first: int
    """Index of the weight's first number in the flattened unpacked tensor."""
    shape: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, int]:
        """The weight's first row in the stored matrix, and the row after its last."""
        first = self.first // self.shape[-1]
        return first, first + self.shape[0]


class WeightReader:
    """Reads weights from their files for one memory plan. The same bytes always give the same numbers."""

    def __init__(self, weights: Weights, slices: Mapping[str, WeightSlice], plan: MemoryPlan) -> None:
        self._weights = weights
        self._slices = slices
        self._plan = plan
        self._reader = Reader(weights)
        self._modification_times = _modification_times(weights)
        self._whole: tuple[str, Any] = ("", None)

    def packed_mode(self, name: str) -> PackedMode:
        """Return how a packed weight is held, for layers that support all ways."""
        stored = self._slices[name].stored
        packed_mode = self._plan.packed_mode(stored.format)
        if _broken_rows(stored):
            return PackedMode.UNPACKED
        if packed_mode is PackedMode.NATIVE and (unpacks_first(stored) or self._lacks_one_scale(stored)):
            return PackedMode.AT_USE
        return packed_mode

    def _lacks_one_scale(self, stored: Stored) -> bool:
        """Whether an 8-bit float weight has no scale or one per row; native multiplication needs exactly one."""
        if not stored.format.startswith("float8"):
            return False
        scale = stored.companions.get("weight_scale")
        return scale is None or math.prod(self._weights.entries[scale].shape) != 1

    def packed(self, name: str) -> PackedWeight:
        """Return the packed tensor that holds this weight; q, k and v may share it."""
        stored, native = self._slices[name].stored, self.packed_mode(name) is PackedMode.NATIVE
        weight: PackedWeight = self._once(
            stored.key, lambda: packed_weight(stored, self._reader, self._plan.device, self._plan.dtype, native)
        )
        return weight

    def plain(self, name: str) -> Tensor:
        """Return a weight unpacked, on the plan's device and in its dtype; memory-mapped if nothing is converted."""
        part = self._slices[name]
        whole: Tensor = self._once(part.stored.key, lambda: self._unpacked(part.stored))
        return whole.flatten()[part.first : part.first + math.prod(part.shape)].view(part.shape)

    def reread(self, name: str) -> Tensor:
        """Reread a plain weight from its file, to undo later changes of the parameter.

        Raises ModelError if the file was changed or removed in the meantime.
        """
        if self._modification_times != _modification_times(self._weights):
            raise damaged(
                self._weights.path,
                "was changed while the model is in use; load the model again",
                "在模型使用期间被修改；请重新加载模型",
            )
        weight = self.plain(name)
        self._whole = ("", None)
        return weight

    def _once(self, key: str, read: Callable[[], Any]) -> Any:
        """Return ``read()``, cached for the last key: q, k and v, read one after another, may be one stored tensor."""
        if self._whole[0] != key:
            self._whole = (key, read())
        return self._whole[1]

    def _unpacked(self, stored: Stored) -> Tensor:
        if not stored.format:
            return self._reader(stored.key).to(self._plan.device, self._plan.dtype)
        if _broken_rows(stored):
            blocks = self._reader(stored.key).view(1, -1)
            row = GgufWeight(blocks, stored.format, (1, math.prod(stored.shape)), torch.float32)
            return row.dense().reshape(stored.shape).to(self._plan.device, self._plan.dtype)
        weight = packed_weight(stored, self._reader, torch.device("cpu"), torch.float32, native=False)
        return weight.dense().to(self._plan.device, self._plan.dtype)


def _modification_times(weights: Weights) -> dict[Path, tuple[int, int] | None]:
    """Return (size, modification time) of each file; None for a missing file."""
    stamps: dict[Path, tuple[int, int] | None] = {}
    for file in {entry.file for entry in weights.entries.values()}:
        status = file.stat() if file.is_file() else None
        stamps[file] = None if status is None else (status.st_size, status.st_mtime_ns)
    return stamps


def _broken_rows(stored: Stored) -> bool:
    """Whether GGUF blocks span row boundaries, or the tensor isn't a matrix."""
    if stored.format not in GGUF_BLOCKS:
        return False
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    numbers: int = GGML_QUANT_SIZES[GGMLQuantizationType[stored.format]][0]
    return len(stored.shape) != 2 or stored.shape[1] % numbers != 0
