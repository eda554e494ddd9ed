"""The devices of this machine: the only place that asks torch about them. Knows no model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text


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
