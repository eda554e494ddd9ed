"""Which tensor of a file, or which rows of one, makes which weight of a module; and that weight as it comes out.

Knows packings, devices and dtypes; knows nothing of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zimage_app.models.files import Reader, Weights, damaged
from zimage_app.models.formats import GGUF_BLOCKS, Stored, unpacks_first
from zimage_app.models.placement import Holding, MemoryPlan
from zimage_app.models.quantised import GgufWeight, PackedWeight, packed_weight


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a weight of a module is in a file."""

    stored: Stored
    first: int
    """Of the numbers in ``stored``, where this weight begins: a file may hold q, k and v in one."""
    shape: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, int]:
        """The same in rows of a matrix: the first, and the one behind the last."""
        first = self.first // self.shape[-1]
        return first, first + self.shape[0]


class Contents:
    """Weights as they come out of their files, for one plan. The same bytes always give the same numbers."""

    def __init__(self, weights: Weights, pieces: Mapping[str, Piece], plan: MemoryPlan) -> None:
        self._weights = weights
        self._pieces = pieces
        self._plan = plan
        self._reader = Reader(weights)
        self._stamps = _stamps(weights)
        self._whole: tuple[str, Any] = ("", None)

    def holding(self, name: str) -> Holding:
        """How a packed weight is held, when the layer that uses it leaves the choice."""
        stored = self._pieces[name].stored
        holding = self._plan.holding(stored.format)
        if _broken_rows(stored):
            return Holding.UNPACKED
        if holding is Holding.NATIVE and (unpacks_first(stored) or self._lacks_one_scale(stored)):
            return Holding.AT_USE
        return holding

    def _lacks_one_scale(self, stored: Stored) -> bool:
        """Whether 8-bit floats have no scale, or one for each row: matrices of them are multiplied with just one."""
        if not stored.format.startswith("float8"):
            return False
        scale = stored.companions.get("weight_scale")
        return scale is None or math.prod(self._weights.entries[scale].shape) != 1

    def packed(self, name: str) -> PackedWeight:
        """The packed weight that a weight is rows of; neighbours get the same one."""
        stored, native = self._pieces[name].stored, self.holding(name) is Holding.NATIVE
        weight: PackedWeight = self._once(
            stored.key, lambda: packed_weight(stored, self._reader, self._plan.device, self._plan.dtype, native)
        )
        return weight

    def plain(self, name: str) -> Tensor:
        """A weight as numbers, on its device and in its dtype; mapped from the file where nothing changes."""
        piece = self._pieces[name]
        whole: Tensor = self._once(piece.stored.key, lambda: self._unpacked(piece.stored))
        return whole.flatten()[piece.first : piece.first + math.prod(piece.shape)].view(piece.shape)

    def again(self, name: str) -> Tensor:
        """A plain weight as it was loaded, for one that was written to since.

        Raises ModelError when the file was changed or removed in the meantime.
        """
        if self._stamps != _stamps(self._weights):
            raise damaged(
                self._weights.path,
                "was changed while the model is in use; load the model again",
                "在模型使用期间被修改；请重新加载模型",
            )
        weight = self.plain(name)
        self._whole = ("", None)
        return weight

    def _once(self, key: str, read: Callable[[], Any]) -> Any:
        """q, k and v may be one tensor in the file; a module names them one after the other."""
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


def _stamps(weights: Weights) -> dict[Path, tuple[int, int] | None]:
    """Size and time of the last change of each file; None for one that is gone."""
    stamps: dict[Path, tuple[int, int] | None] = {}
    for file in {entry.file for entry in weights.entries.values()}:
        status = file.stat() if file.is_file() else None
        stamps[file] = None if status is None else (status.st_size, status.st_mtime_ns)
    return stamps


def _broken_rows(stored: Stored) -> bool:
    """Whether the rows of a GGUF tensor do not end where blocks end."""
    if stored.format not in GGUF_BLOCKS:
        return False
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    numbers: int = GGML_QUANT_SIZES[GGMLQuantizationType[stored.format]][0]
    return len(stored.shape) != 2 or stored.shape[1] % numbers != 0
