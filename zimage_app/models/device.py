"""The devices of this machine: the only place that asks torch about them. Knows no model."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psutil
import pynvml
import torch
from torch import Tensor

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text

_Made = TypeVar("_Made")
_CHUNK = 2**30
"""Bytes of page-locked memory that are asked for at once: torch rounds up to powers of two."""
_SPARE_MEMORY = 4 * 10**9
"""Bytes of the computer's memory that page-locked memory leaves to everything else."""
ALIGNMENT = 256
"""Bytes. What lies without a gap after a multiple of it is one matrix on the device, as q, k and v are."""


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


def device_title(device: torch.device) -> str:
    """A device by its maker's name, with the version of its driver where it has one of its own."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return device.type
    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:  # AMD's
        driver = f"HIP {torch.version.hip}"
    return f"{torch.cuda.get_device_name(device)}, driver {driver}"


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


def works_ahead(device: torch.device) -> bool:
    """Whether work is queued on a device (in CUDA's streams), so that the host needs not wait for each piece."""
    return device.type == "cuda" and torch.cuda.is_available()


def aligned(size: int) -> int:
    """Bytes that ``size`` bytes take where what follows begins at a multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to bring a tensor to the computer's memory; gives what waits until it is there."""
    if not works_ahead(tensor.device):
        home = tensor.cpu()
        return lambda: home
    place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    place.copy_(tensor, non_blocking=True)
    arrival = torch.cuda.current_stream(tensor.device).record_event()

    def arrived() -> Tensor:
        arrival.synchronize()
        return place

    return arrived


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """How long some work takes on a device, with nothing before it left to do."""
    _finish(device)
    begun = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Copies(Protocol):
    """Copies to a device, beside its arithmetic where it can do both."""

    def may_write(self) -> None:
        """What is copied from now on may overwrite all that the arithmetic asked for so far reads."""
        ...

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], _Made]) -> tuple[_Made, object]:
        """Call ``fill`` with what copies (target, source); gives what it made and what its arrival is known by."""
        ...

    def wait(self, arrival: object) -> None:
        """The arithmetic that is asked for from now on comes after an arrival; the host doesn't wait."""
        ...


class CopiesInTurn:
    """Copies of a device that does one thing after the other."""

    def may_write(self) -> None:
        """See ``Copies``."""

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], _Made]) -> tuple[_Made, object]:
        """See ``Copies``."""
        return fill(_copy), None

    def wait(self, arrival: object) -> None:
        """See ``Copies``."""


class CopiesBeside:
    """CUDA's: in a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._written: Any = None

    def may_write(self) -> None:
        """See ``Copies``."""
        self._written = torch.cuda.current_stream(self._device).record_event()

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], _Made]) -> tuple[_Made, object]:
        """See ``Copies``."""
        with torch.cuda.stream(self._stream):
            if self._written is not None:
                self._stream.wait_event(self._written)
            return fill(_copy), self._stream.record_event()

    def wait(self, arrival: Any) -> None:
        """See ``Copies``."""
        torch.cuda.current_stream(self._device).wait_event(arrival)


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source, non_blocking=True)


def copies_to(device: torch.device) -> Copies:
    """How weights come to a device."""
    return CopiesBeside(device) if works_ahead(device) else CopiesInTurn()


def home_memory(device: torch.device) -> Callable[[Tensor], Tensor]:
    """What brings weights into the computer's memory, from where they visit a device.

    For CUDA that is page-locked memory, which is copied from beside the arithmetic, as long as enough is left.
    """
    return _PageLocked() if works_ahead(device) else lambda tensor: tensor.cpu()


class _PageLocked:
    """Copies tensors into page-locked memory."""

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor's copy; in ordinary memory where too little is left, which is slower to copy from."""
        size = tensor.nbytes
        if self._used + size > self._chunk.nbytes and not self._more(size):
            return tensor.cpu()
        place = self._chunk[self._used : self._used + size].view(tensor.dtype).view(tensor.shape)
        self._used += aligned(size)
        return place.copy_(tensor)

    def _more(self, size: int) -> bool:
        wanted = max(_CHUNK, size)
        if psutil.virtual_memory().available < wanted + _SPARE_MEMORY:
            return False
        self._chunk = torch.empty(wanted, dtype=torch.uint8, pin_memory=True)
        self._used = 0
        return True
