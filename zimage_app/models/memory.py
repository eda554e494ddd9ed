"""Where a model computes and in what: the only place that asks torch about devices. Knows no model."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import torch

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.files import Weights
from zimage_app.models.formats import FORMATS
from zimage_app.models.layout import ModelFiles, model_files
from zimage_app.models.sources import ModelSource

_FLOAT32_LIMIT = 4 * 10**9
"""Bytes. On a CPU, a model that takes less in float32 is computed in float32; larger ones would not fit or crawl."""


_WORKING = 2 * 10**9
"""Bytes that a run needs beside the weights: activations and decoding of a 672 x 864 picture take 1.3 GB, the device's
own context half a gigabyte."""

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

    @property
    def for_text(self) -> MemoryPlan:
        """Where the text encoder's weights are kept."""
        return replace(self, device=torch.device("cpu")) if self.stream_text else self

    def holding(self, packing: str) -> Holding:
        """How weights of a packing (``formats.FORMATS`` or a GGUF one) are held.

        GGUF's are small for memory's sake and stay packed everywhere. ComfyUI's are unpacked where the device has no
        arithmetic for them at all: on a CPU, that is several times quicker than to unpack them at each use.
        """
        if self.capability is not None:
            native = packing in _NATIVE and self.capability >= _NATIVE[packing]
            return Holding.NATIVE if native else Holding.AT_USE
        return Holding.UNPACKED if packing in FORMATS else Holding.AT_USE


def best_device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    for kind, backend in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.backends.mps)):
        if backend.is_available():
            return torch.device(kind)
    return torch.device("cpu")


def device_names() -> dict[str, str]:
    """The devices of this machine as torch names them, the best first, each with the name that its maker gave it."""
    names = {
        f"{kind}:{index}": backend.get_device_name(index)
        for kind, backend in (("cuda", torch.cuda), ("xpu", torch.xpu))
        if backend.is_available()
        for index in range(backend.device_count())
    }
    if torch.backends.mps.is_available():
        names["mps"] = "Apple"
    return names | {"cpu": "CPU"}


def named_device(name: str) -> torch.device:
    """The device of that name, as in ``cuda:0``; raises ModelError for one that is not on this machine."""
    known = device_names()
    if name not in known and f"{name}:0" not in known:
        offered = ", ".join(known)
        raise ModelError(
            Text(
                f"device {name!r} is not on this machine; use one of {offered}.",
                f"本机没有设备 {name!r}；可选：{offered}。",
            )
        )
    return torch.device(name)


def plan_memory(source: ModelSource, device: str | None = None) -> MemoryPlan:
    """The device and dtype for a model; ``device`` overrides the choice of device.

    Raises:
        ModelError: the model's files are not whole, or this machine has no such device.
    """
    place = best_device() if device is None else named_device(device)
    files = model_files(source)
    return fitted(plan_for(files.parameters, place), files, free_memory(place))


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device with a memory of its own; None for others."""
    backend = {"cuda": torch.cuda, "xpu": torch.xpu}.get(device.type)
    if backend is None or not backend.is_available():
        return None
    free: int = backend.mem_get_info(device)[0]
    return free


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """How much of an accelerator's memory is taken."""

    name: str
    used: int
    """Bytes."""
    total: int


def device_use() -> DeviceUse | None:
    """The accelerator's memory; None before anything was computed on it, because asking would take some of it."""
    for kind, backend in (("CUDA", torch.cuda), ("XPU", torch.xpu)):
        if backend.is_available() and backend.is_initialized():
            free, total = backend.mem_get_info()
            return DeviceUse(f"{kind} {backend.get_device_name()}", total - free, total)
    if torch.backends.mps.is_available():
        return DeviceUse("Apple GPU", torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory())
    return None


def attention_kernels() -> tuple[str, ...]:
    """The kernels that torch's scaled dot product attention may choose from, quickest first."""
    switches: dict[str, Callable[[], bool]] = {
        "cuDNN": torch.backends.cuda.cudnn_sdp_enabled,
        "flash": torch.backends.cuda.flash_sdp_enabled,
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled,
        "math": torch.backends.cuda.math_sdp_enabled,
    }
    known = switches if torch.cuda.is_available() else {name: switches[name] for name in ("flash", "math")}
    return tuple(name for name, enabled in known.items() if enabled())


def fitted(plan: MemoryPlan, files: ModelFiles, free: int | None) -> MemoryPlan:
    """The plan, with the text encoder off the device where ``free`` bytes are too few for everything at once.

    It is needed for a moment per prompt; through it, 12 GB of transformer fit into 16 GB with room to work.
    """
    text = _held(files.text_encoder.weights, plan)
    others = _held(files.transformer.weights, plan) + _held(files.vae.weights, plan) + _WORKING
    if free is None or others + text <= free:
        return plan
    en = (
        f"{plan.reason.en}; the text encoder visits it layer by layer, because all of the model would need"
        f" {_gigabytes(others + text)} and {_gigabytes(free)} are free"
    )
    zh = (
        f"{plan.reason.zh}；文本编码器逐层调入，因为整个模型需要 {_gigabytes(others + text)}，而可用 {_gigabytes(free)}"
    )
    if others > free:
        en += f"; the rest needs {_gigabytes(others)}: if memory runs out, use a smaller file (docs/MODELS.md)"
        zh += f"；其余部分仍需 {_gigabytes(others)}：如内存不足，请改用更小的文件（见 docs/MODELS.md）"
    return replace(plan, reason=Text(en, zh), stream_text=True)


def _held(weights: Weights, plan: MemoryPlan) -> int:
    """Roughly the bytes that weights take on the device: packed ones as many as in the file, where they stay so."""
    total = 0
    for entry in weights.entries.values():
        numbers = math.prod(entry.shape)
        packed = bool(entry.packing) or (entry.dtype.itemsize == 1 and plan.capability is not None)
        total += (entry.stored or numbers) if packed else numbers * plan.dtype.itemsize
    return total


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


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


def cuda_capability(device: torch.device) -> tuple[int, int] | None:
    """The compute capability of an NVIDIA device; None for others, which count differently."""
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability(device)


def empty_cache() -> None:
    """Give memory that is no longer used back to the device, as after a model was unloaded."""
    gc.collect()
    for backend, caches in ((torch.cuda, torch.cuda), (torch.xpu, torch.xpu), (torch.backends.mps, torch.mps)):
        if backend.is_available():
            caches.empty_cache()
