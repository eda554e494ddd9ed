"""Decides device and dtype of a model's weights, and whether packed weights stay packed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import torch

from zimage_app.domain.text import Text
from zimage_app.models.device import BFLOAT16_CAPABILITY, cuda_capability
from zimage_app.models.weights.packing import FORMATS

_FLOAT32_LIMIT = 4 * 10**9
"""On a CPU, a model whose weights take fewer bytes in float32 is computed in float32, a larger one in bfloat16."""


_NATIVE = {
    "float8_e4m3fn": (8, 9),
    "int8_tensorwise": (7, 5),
    "convrot_w4a4": (7, 5),
    "svdquant_w4a4": (8, 0),
    "asym_w4a8_int8": (8, 0),
    "nvfp4": (10, 0),
    "mxfp8": (10, 0),
}
"""Format -> minimum CUDA compute capability for comfy-kitchen's kernels that multiply packed weights."""


_NO_KERNELS = (0, 0)
"""A capability below all of these."""


class PackedMode(Enum):
    """How packed weights are held in memory."""

    NATIVE = "native"
    """Packed, and multiplied in their format."""
    AT_USE = "at use"
    """Packed, and unpacked one at a time at each use."""
    UNPACKED = "unpacked"
    """Unpacked once, when the model is loaded."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Device and dtype that a model will compute in, and the reason."""

    device: torch.device
    dtype: torch.dtype
    reason: Text
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None on other devices."""
    stream_text: bool = False
    """The text encoder stays in the computer's memory; its layers are copied to the device one by one."""
    streamed: int = 0
    """Number of the transformer's main blocks that are streamed from the computer's memory."""

    @property
    def on_host(self) -> MemoryPlan:
        """The plan for weights that stay in the computer's memory."""
        return replace(self, device=torch.device("cpu"))

    @property
    def for_text(self) -> MemoryPlan:
        """The plan for the text encoder's weights, which ComfyUI always unpacks before it multiplies them."""
        plan = replace(self, capability=self.capability and _NO_KERNELS)
        return plan.on_host if self.stream_text else plan

    @property
    def for_vae(self) -> MemoryPlan:
        """The plan for the VAE's weights: in float32 on CUDA devices whose convolutions don't take bfloat16."""
        if self.capability is None or self.capability >= BFLOAT16_CAPABILITY:
            return self
        return replace(self, dtype=torch.float32)

    def waiting(self, blocks: int) -> frozenset[int]:
        """Return which of so many main blocks are streamed: evenly spread, so that copying overlaps with computing."""
        count = min(self.streamed, blocks)
        return frozenset(n for n in range(blocks) if (n + 1) * count // blocks > n * count // blocks)

    def packed_mode(self, packing: str) -> PackedMode:
        """Return how weights of a format (a key of ``packing.FORMATS`` or one of ``GGUF_BLOCKS``) are held.

        GGUF weights, which are chosen to save memory, stay packed everywhere. ComfyUI's formats stay packed on CUDA
        only; elsewhere they are unpacked once, which on a CPU is several times faster than unpacking at each use.
        """
        if self.capability is not None:
            native = packing in _NATIVE and self.capability >= _NATIVE[packing]
            return PackedMode.NATIVE if native else PackedMode.AT_USE
        return PackedMode.UNPACKED if packing in FORMATS else PackedMode.AT_USE


def plan_for(parameters: int, device: torch.device) -> MemoryPlan:
    """Return the plan for a model with this many parameters. Accelerators use bfloat16, because float16 overflows."""
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
