"""The current status of this machine's accelerators: from NVIDIA's NVML if its driver is installed, else from torch.

Nothing here allocates device memory or creates a CUDA context, so monitoring takes no memory from pictures.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True, slots=True)
class Amount:
    """Used and total bytes of a limited resource."""

    used: int
    total: int

    @property
    def fraction(self) -> float:
        """The used fraction, 0…1."""
        return self.used / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """One accelerator; unknown values are None."""

    name: str
    load: float | None = None
    """Current load, 0…1."""
    memory: Amount | None = None
    temperature: int | None = None
    """Degrees Celsius."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability."""


class NvidiaGpus:
    """NVIDIA GPUs that this process may use, in PCI bus order. Thread-safe."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._usable: bool | None = None

    def all(self) -> tuple[GpuStatus, ...]:
        """The current status of each GPU; empty without a driver."""
        with self._lock:
            if not self._is_usable():
                return ()
            try:
                return tuple(self._status(handle) for handle in self._handles())
            except self._nvml.NVMLError:
                # After a driver update, calls fail until the process restarts.
                self._usable = False
                return ()

    def driver(self) -> str | None:
        """The driver's version; None without a driver."""
        with self._lock:
            return self._query("nvmlSystemGetDriverVersion") if self._is_usable() else None

    def _is_usable(self) -> bool:
        if self._usable is None:
            try:
                self._nvml.nvmlInit()
                self._usable = True
            except self._nvml.NVMLError:
                self._usable = False
        return self._usable

    def _handles(self) -> list[Any]:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            numbers = range(self._nvml.nvmlDeviceGetCount())
            return [self._nvml.nvmlDeviceGetHandleByIndex(number) for number in numbers]
        return [handle for name in visible.split(",") if (handle := self._handle(name.strip())) is not None]

    def _handle(self, name: str) -> Any:
        if name.isdecimal():
            return self._query("nvmlDeviceGetHandleByIndex", int(name))
        return self._query("nvmlDeviceGetHandleByUUID", name)

    def _status(self, handle: Any) -> GpuStatus:
        load = self._query("nvmlDeviceGetUtilizationRates", handle)
        memory = self._query("nvmlDeviceGetMemoryInfo", handle)
        return GpuStatus(
            name=self._query("nvmlDeviceGetName", handle) or "NVIDIA GPU",
            load=None if load is None else load.gpu / 100,
            memory=None if memory is None else Amount(int(memory.used), int(memory.total)),
            temperature=self._query("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
            capability=self._query("nvmlDeviceGetCudaComputeCapability", handle),
        )

    def _query(self, function: str, *arguments: object) -> Any:
        """The result of an NVML call; None where unsupported, such as the load of a MIG slice."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError:
            return None


def gpus(nvidia: NvidiaGpus) -> tuple[GpuStatus, ...]:
    """The status of all accelerators."""
    return nvidia.all() or _known_to_torch()


def _known_to_torch() -> tuple[GpuStatus, ...]:
    """AMD, Intel and Apple devices: torch knows their memory once it has been imported to use them."""
    if "torch" not in sys.modules:
        return ()
    from zimage_app.models.device import device_use

    try:
        use = device_use()
    except RuntimeError:  # the device is lost; the next run on it reports that
        return ()
    return () if use is None else (GpuStatus(use.name, memory=Amount(use.used, use.total)),)
