"""The devices of this machine: lists them, measures their memory, and copies tensors to and from them.

Only this module queries torch about devices.
"""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import pynvml
import torch
from torch import Tensor

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.heap import return_freed_memory

_Made = TypeVar("_Made")
_CHUNK = 2**30
"""Bytes of pinned memory allocated at once; a power of two, because torch rounds up to one."""
_SPARE_MEMORY = 4 * 10**9
"""Bytes of the computer's memory that pinned memory must leave free."""
_OUTSIDE_TORCH = 3 * 10**8
"""Bytes of device memory outside torch's allocator, such as those of cuBLAS and cuDNN."""
_OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "can't allocate memory",
    "unable to find an engine to execute",
    "Invalid buffer size",
    "OUT_OF_DEVICE_MEMORY",
    "OUT_OF_RESOURCES",
)
"""Parts of RuntimeError messages that mean out of memory, of CPUs, CUDA's libraries, cuDNN (which hides the reason),
Apple's devices (which limit a single buffer) and Intel's."""
_OWN_MEMORY: dict[str, Any] = {"cuda": torch.cuda, "xpu": torch.xpu}
"""Devices with their own memory."""
BFLOAT16_CAPABILITY = (8, 0)
"""The CUDA compute capability from which on there are kernels for bfloat16."""
ALIGNMENT = 256
"""Bytes. Tensors whose size is a multiple of it, such as q, k and v, are copied without gaps and form one matrix."""


def best_device() -> torch.device:
    """Return this machine's accelerator, or its CPU if there is none."""
    for kind, backend in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.backends.mps)):
        if backend.is_available():
            return torch.device(kind)
    return torch.device("cpu")


def device_names() -> dict[str, str]:
    """Return this machine's devices, best first: torch's name -> the manufacturer's name."""
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
    """Return the device with a name such as ``cuda:0``; raises ModelError if this machine has no such device."""
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
    """Return the manufacturer's name and driver version of a CUDA or HIP device; the device type of others."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return device.type
    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:  # an AMD device
        driver = f"HIP {torch.version.hip}"
    return f"{torch.cuda.get_device_name(device)}, driver {driver}"


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of an accelerator (Apple: of the recommended maximum); None for other devices."""
    if device.type == "mps" and torch.backends.mps.is_available():
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    backend = _OWN_MEMORY.get(device.type)
    if backend is None or not backend.is_available():
        return None
    return _free_and_total(device)[0]


def _free_and_total(device: torch.device) -> tuple[int, int]:
    """Return the free and all bytes of a device with its own memory."""
    try:
        free, total = _OWN_MEMORY[device.type].mem_get_info(device)
    except RuntimeError:
        if device.type != "xpu":
            raise
        # Many Intel GPUs don't report free memory; then the memory of other programs is unknown.
        total = torch.xpu.get_device_properties(device).total_memory
        free = total - torch.xpu.memory_reserved(device)
    return free, total


def keep_to_own_memory(device: torch.device) -> None:
    """On Windows, let CUDA allocations fail where the card's memory ends; call it before each load of a model.

    Otherwise NVIDIA's drivers since 536.40 use the computer's memory, at a fraction of the speed, and no out-of-memory
    error makes the run stream weights.
    """
    if platform.system() != "Windows" or not is_asynchronous(device):
        return
    free, total = _free_and_total(device)
    # What torch holds already counts against its limit, too.
    own = free + torch.cuda.memory_reserved(device) - _OUTSIDE_TORCH
    torch.cuda.set_per_process_memory_fraction(min(max(own / total, 0.0), 1.0), device.index)


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """Memory use of an accelerator."""

    name: str
    used: int
    """Bytes."""
    total: int


def device_use() -> DeviceUse | None:
    """Return the accelerator's memory use; None before its first use, because the query itself would take memory."""
    for kind, backend in _OWN_MEMORY.items():
        if backend.is_available() and backend.is_initialized():
            free, total = _free_and_total(torch.device(kind))
            return DeviceUse(f"{kind.upper()} {backend.get_device_name()}", total - free, total)
    if torch.backends.mps.is_available():
        return DeviceUse("Apple GPU", torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory())
    return None


def attention_kernels() -> tuple[str, ...]:
    """Return the kernels that torch's scaled dot product attention may choose from, fastest first."""
    switches: dict[str, Callable[[], bool]] = {
        "cuDNN": torch.backends.cuda.cudnn_sdp_enabled,
        "flash": torch.backends.cuda.flash_sdp_enabled,
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled,
        "math": torch.backends.cuda.math_sdp_enabled,
    }
    known = switches if torch.cuda.is_available() else {name: switches[name] for name in ("flash", "math")}
    return tuple(name for name, enabled in known.items() if enabled())


def cuda_capability(device: torch.device) -> tuple[int, int] | None:
    """Return the compute capability of an NVIDIA device; None for other devices."""
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability(device)


def has_bfloat16_kernels(device: torch.device) -> bool:
    """Return whether torch's memory-saving attention and cuDNN's convolutions take bfloat16 on a device.

    On NVIDIA cards before RTX 30 and A100 they don't: torch then computes both by way of gigabytes of intermediates.
    """
    capability = cuda_capability(device)
    return capability is None or capability >= BFLOAT16_CAPABILITY


def empty_cache() -> None:
    """Release cached memory that is no longer used, such as after a model was unloaded."""
    gc.collect()
    return_freed_memory()
    for backend, caches in ((torch.cuda, torch.cuda), (torch.xpu, torch.xpu), (torch.backends.mps, torch.mps)):
        if backend.is_available():
            caches.empty_cache()
    # Only CUDA's memory is pinned here. torch.accelerator.empty_host_cache crashes on Apple's devices in torch 2.13,
    # is missing in older versions, and would start CUDA in ZeroGPU's parent, where CUDA only seems available.
    release_pinned = getattr(torch._C, "_host_emptyCache", None)
    if torch.cuda.is_initialized() and release_pinned is not None:  # type: ignore[no-untyped-call]
        release_pinned()


def release_freed(device: torch.device) -> None:
    """Return a device's freed memory to its driver, as torch keeps it for tensors of at most the same size."""
    backend = _OWN_MEMORY.get(device.type)
    if backend is not None and backend.is_available():
        backend.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def make_current(device: torch.device) -> None:
    """Make a GPU the current thread's, because some libraries launch their kernels on that one."""
    if device.type != "cpu" and device.index is not None and torch.accelerator.is_available():
        torch.accelerator.set_device_index(device)


def is_asynchronous(device: torch.device) -> bool:
    """Return whether a device executes work asynchronously, in CUDA streams."""
    return device.type == "cuda" and torch.cuda.is_available()


def aligned(size: int) -> int:
    """Round ``size`` up to a multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Start copying a tensor to the computer's memory; return a function that waits for the copy and returns it."""
    place = _pinned(tensor.shape, tensor.dtype) if is_asynchronous(tensor.device) else None
    if place is None:
        host = tensor.cpu()
        return lambda: host
    place.copy_(tensor, non_blocking=True)
    event = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> Tensor:
        event.synchronize()
        return place

    return wait


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
    """Return uninitialized pinned memory; None where the driver refuses it, as Windows and WSL limit its amount."""
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    except RuntimeError:
        return None


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes on a device, after all earlier work is finished."""
    _finish(device)
    started = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Copies:
    """Copies tensors to a device synchronously; a subclass copies concurrently with computation."""

    def wait_for_compute(self) -> None:
        """Let later copies wait for the computation queued so far, so that they may overwrite what it reads."""

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], _Made]) -> tuple[_Made, object]:
        """Call ``fill`` with a function that copies (target, source); return its result and an event for ``wait``."""
        return fill(_copy), None

    def wait(self, event: object) -> None:
        """Let computation queued from now on wait for the copies of an event; doesn't block the host."""


class AsyncCopies(Copies):
    """Asynchronous copies in a separate CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._computed: Any = None

    def wait_for_compute(self) -> None:
        """See ``Copies``."""
        self._computed = torch.cuda.current_stream(self._device).record_event()

    def begin(self, fill: Callable[[Callable[[Tensor, Tensor], None]], _Made]) -> tuple[_Made, object]:
        """See ``Copies``."""
        with torch.cuda.stream(self._stream):
            if self._computed is not None:
                self._stream.wait_event(self._computed)
            return fill(_copy), self._stream.record_event()

    def wait(self, event: Any) -> None:
        """See ``Copies``."""
        torch.cuda.current_stream(self._device).wait_event(event)


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source, non_blocking=True)


def copies_to(device: torch.device) -> Copies:
    """Return the way to copy weights to a device."""
    return AsyncCopies(device) if is_asynchronous(device) else Copies()


def host_memory(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function that moves weights to the computer's memory, to be streamed to a device from there.

    For CUDA that is pinned memory, which allows asynchronous copies, as long as enough memory is free.
    """
    return _PageLocked() if is_asynchronous(device) else lambda tensor: tensor.cpu()


class _PageLocked:
    """Copies tensors into pinned memory."""

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return a copy of the tensor; in pageable memory, which is slower to copy from, if no more can be pinned."""
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
        chunk = _pinned((wanted,), torch.uint8)
        if chunk is None:
            return False
        self._chunk, self._used = chunk, 0
        return True
