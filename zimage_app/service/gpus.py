"""The accelerators of this machine at a moment: NVIDIA's own library where there is a driver, else what torch knows.

Nothing here takes memory of a device or begins to compute on one, so a picture's memory is never spent on watching it.
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
    """Bytes of something that is limited."""

    used: int
    total: int

    @property
    def fraction(self) -> float:
        """0…1."""
        return self.used / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """One accelerator; what it doesn't tell is None."""

    name: str
    load: float | None = None
    """0…1 over the last moment."""
    memory: Amount | None = None
    temperature: int | None = None
    """Degrees Celsius."""


class NvidiaGpus:
    """NVIDIA's GPUs that this process may use, in the order of the bus. Safe to use from any thread."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._usable: bool | None = None

    def all(self) -> tuple[GpuStatus, ...]:
        """Each of them, now; none where there is no driver."""
        with self._lock:
            if not self._begun():
                return ()
            try:
                return tuple(self._status(handle) for handle in self._handles())
            except self._nvml.NVMLError:
                # A driver that was changed under a running program answers no more.
                self._usable = False
                return ()

    def driver(self) -> str | None:
        """The driver's version."""
        with self._lock:
            return self._asked("nvmlSystemGetDriverVersion") if self._begun() else None

    def _begun(self) -> bool:
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
            return self._asked("nvmlDeviceGetHandleByIndex", int(name))
        return self._asked("nvmlDeviceGetHandleByUUID", name)

    def _status(self, handle: Any) -> GpuStatus:
        load = self._asked("nvmlDeviceGetUtilizationRates", handle)
        memory = self._asked("nvmlDeviceGetMemoryInfo", handle)
        return GpuStatus(
            name=self._asked("nvmlDeviceGetName", handle) or "NVIDIA GPU",
            load=None if load is None else load.gpu / 100,
            memory=None if memory is None else Amount(int(memory.used), int(memory.total)),
            temperature=self._asked("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
        )

    def _asked(self, function: str, *arguments: object) -> Any:
        """What the library says, or None: a part of a GPU has no load of its own, a laptop's no temperature."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError:
            return None


def gpus(nvidia: NvidiaGpus) -> tuple[GpuStatus, ...]:
    """The accelerators that there are to watch."""
    return nvidia.all() or _known_to_torch()


def _known_to_torch() -> tuple[GpuStatus, ...]:
    """AMD's, Intel's and Apple's: torch tells their memory, once a picture was begun on them."""
    if "torch" not in sys.modules:
        return ()
    from zimage_app.models.device import device_use

    try:
        use = device_use()
    except RuntimeError:  # a device that is lost; the run that needs it says so
        return ()
    return () if use is None else (GpuStatus(use.name, memory=Amount(use.used, use.total)),)
