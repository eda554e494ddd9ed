"""The machine's current load: processors, memory, accelerators, disk. Cheap, cached for a second, never raises.

Values that a machine doesn't have or doesn't report are None, not zero.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from zimage_app.service.diagnostics.cgroups import ControlGroups
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus, NvidiaGpus, gpus

_FRESH = 1.0
"""Seconds for which a snapshot is cached, so that many open pages cost as much as one."""

_UNAVAILABLE = (OSError, psutil.Error, LookupError, ValueError, RuntimeError)
"""Errors for values that a system does not report: no access, unknown file formats, not implemented."""


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Capacity and load of the machine. ``status --json`` prints the fields under their names."""

    processors: float
    """Number of processors that this process may use; a container may have 1.5."""
    processor_load: float | None
    """Load of these processors since the previous snapshot, 0…1."""
    memory: Amount | None
    disk: Amount | None
    """The disk that pictures are saved on."""
    gpus: tuple[GpuStatus, ...] = ()
    frequency: float | None = None
    """Current clock rate of the processors in MHz."""


class Monitor:
    """Takes snapshots of the machine on request. Thread-safe."""

    def __init__(
        self,
        outputs: Path,
        groups: ControlGroups | None = None,
        nvidia: NvidiaGpus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outputs = outputs
        """The folder whose disk is measured."""
        self._groups = groups or ControlGroups()
        self._nvidia = nvidia or NvidiaGpus()
        self._clock = clock
        self._lock = threading.Lock()
        self._last: MachineStatus | None = None
        self._seen = 0.0
        self._load = _LoadMeter(self._groups, clock)

    def machine(self) -> MachineStatus:
        """The current snapshot, at most a second old."""
        with self._lock:
            if self._last is None or self._clock() - self._seen >= _FRESH:
                self._last = self._look()
                self._seen = self._clock()
            return self._last

    def driver(self) -> str | None:
        """The version of NVIDIA's driver; None without one."""
        return self._nvidia.driver()

    def _look(self) -> MachineStatus:
        processors = self._load.processors()
        return MachineStatus(
            processors=processors,
            processor_load=self._load.now(processors),
            memory=self._memory(),
            disk=free_disk(self.outputs),
            gpus=gpus(self._nvidia),
            frequency=_frequency(),
        )

    def _memory(self) -> Amount | None:
        try:
            whole = psutil.virtual_memory()
        except _UNAVAILABLE:
            return None
        limit = self._groups.memory()
        if limit is not None and limit.total < whole.total:
            return limit
        return Amount(whole.total - whole.available, whole.total)


class _LoadMeter:
    """CPU load since the previous call: of the container where it has a CPU limit, else of the machine."""

    def __init__(self, groups: ControlGroups, clock: Callable[[], float]) -> None:
        self._groups = groups
        self._clock = clock
        self._before: tuple[float, float] | None = None
        self.now(1.0)  # the load is a difference of two readings; the first call only takes the first reading

    def processors(self) -> float:
        usable = float(_usable_processors())
        limit = self._groups.processors()
        return usable if limit is None else min(limit, usable)

    def now(self, processors: float) -> float | None:
        limited = self._groups.processors() is not None
        used = self._groups.processor_seconds() if limited else _busy_seconds()
        if used is None:
            return None
        before, self._before = self._before, (self._clock(), used)
        if before is None or self._before[0] <= before[0]:
            return None
        load = (used - before[1]) / (self._before[0] - before[0]) / processors
        return min(1.0, max(0.0, load))


def _frequency() -> float | None:
    try:
        found = psutil.cpu_freq()
    except (*_UNAVAILABLE, AttributeError):  # psutil has no such function on some systems
        return None
    return found.current or None if found else None


def free_disk(folder: Path) -> Amount | None:
    """The disk of a folder, or of its nearest existing parent."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            usage = psutil.disk_usage(str(place))
        except _UNAVAILABLE:
            continue
        # A part of the free space may be reserved for the system; only what the user can write counts.
        return Amount(usage.total - usage.free, usage.total)
    return None


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _busy_seconds() -> float | None:
    """Busy seconds since boot of the processors that this process may use."""
    try:
        times = psutil.cpu_times(percpu=True)
    except _UNAVAILABLE:
        return None
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(len(times))
    busy = [sum(times[place]) - _idle(times[place]) for place in mine if place < len(times)]
    return sum(busy)


def _idle(times: Any) -> float:
    # guest time is included in user time, so it is subtracted here
    return float(times.idle + sum(getattr(times, name, 0.0) for name in ("iowait", "guest", "guest_nice")))
