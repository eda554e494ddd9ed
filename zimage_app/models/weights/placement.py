"""Where the weights of a model are held, and in what: device, dtype, packed or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import torch

from zimage_app.domain.text import Text
from zimage_app.models.device import cuda_capability
from zimage_app.models.weights.packing import FORMATS

_FLOAT32_LIMIT = 4 * 10**9
"""Bytes. On a CPU, a model that takes less in float32 is computed in float32; larger ones would not fit or crawl."""


_NATIVE = {
    "float8_e4m3fn": (8, 9),
    "int8_tensorwise": (7, 5),
    "convrot_w4a4": (7, 5),
    "svdquant_w4a4": (8, 0),
    "asym_w4a8_int8": (8, 0),
    "nvfp4": (10, 0),
    "mxfp8": (10, 0),
}
"""The CUDA compute capability from which on comfy-kitchen multiplies packed weights as they are."""


class Holding(Enum):
    """How packed weights are held in memory."""

    NATIVE = "native"
    """Packed; the device multiplies them as they are."""
    AT_USE = "at use"
    """Packed; unpacked one by one, each time they are used."""
    UNPACKED = "unpacked"
    """Unpacked once, while the model is read."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where and in what a model will compute, and why."""

    device: torch.device
    dtype: torch.dtype
    reason: Text
    capability: tuple[int, int] | None = None
    """CUDA's compute capability; None on everything else."""
    stream_text: bool = False
    """The text encoder stays in the computer's memory; its layers visit the device one by one."""
    visitors: int = 0
    """So many of the transformer's main blocks stay in the computer's memory and visit the device."""

    @property
    def at_home(self) -> MemoryPlan:
        """The plan for weights that stay in the computer's memory."""
        return replace(self, device=torch.device("cpu"))

    @property
    def for_text(self) -> MemoryPlan:
        """Where the text encoder's weights are kept."""
        return self.at_home if self.stream_text else self

    def waiting(self, blocks: int) -> frozenset[int]:
        """Which of so many main blocks are the visitors: evenly spread, so that blocks compute while they come."""
        count = min(self.visitors, blocks)
        return frozenset(n for n in range(blocks) if (n + 1) * count // blocks > n * count // blocks)

    def holding(self, packing: str) -> Holding:
        """How weights of a packing (``formats.FORMATS`` or a GGUF one) are held.

        GGUF's are small for memory's sake and stay packed everywhere. ComfyUI's are unpacked where the device has no
        arithmetic for them at all: on a CPU, that is several times quicker than to unpack them at each use.
        """
        if self.capability is not None:
            native = packing in _NATIVE and self.capability >= _NATIVE[packing]
            return Holding.NATIVE if native else Holding.AT_USE
        return Holding.UNPACKED if packing in FORMATS else Holding.AT_USE


def plan_for(parameters: int, device: torch.device) -> MemoryPlan:
    """The plan for a model of so many parameters on a device. bfloat16 on accelerators: float16 overflows."""
    if device.type != "cpu":
        reason = Text(f"bfloat16 on {device.type}", f"在 {device.type} 上使用 bfloat16")
        return MemoryPlan(device, torch.bfloat16, reason, cuda_capability(device))
    gigabytes = parameters * 4 / 1e9
    size = f"{gigabytes:.2g} GB"
    if parameters * 4 < _FLOAT32_LIMIT:
        reason = Text(f"float32 on the CPU: the weights take {size}", f"在 CPU 上使用 float32：权重占 {size}")
        return MemoryPlan(device, torch.float32, reason)
    reason = Text(
        f"bfloat16 on the CPU: in float32 the weights would take {size}",
        f"在 CPU 上使用 bfloat16：用 float32 权重将占 {size}",
    )
    return MemoryPlan(device, torch.bfloat16, reason)
