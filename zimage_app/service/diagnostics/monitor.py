"""The machine at a moment: processors, memory, accelerators, disk. Cheap, kept for a second, and it never raises.

What a machine lacks or doesn't tell is absent, not zero. Knows no pages and no jobs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from zimage_app.service.diagnostics.cgroups import ControlGroups
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus, NvidiaGpus, gpus

_FRESH = 1.0
"""Seconds for which a snapshot is given out again: many open pages cost as much as one."""

_UNTOLD = (OSError, psutil.Error, LookupError, ValueError, RuntimeError)
"""How systems refuse: no access, files of another form than psutil knows, not implemented."""


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """What there is of a machine, and how much of it is taken."""

    processors: float
    """How many this process may use; a container may have one and a half."""
    processor_load: float | None
    """0…1 of them since the look before this one."""
    memory: Amount | None
    disk: Amount | None
    """Where pictures are saved."""
    gpus: tuple[GpuStatus, ...] = ()
    frequency: float | None = None
    """MHz of the processors now."""

    def as_data(self) -> dict[str, Any]:
        """For JSON: bytes, fractions 0…1 and degrees Celsius; what isn't known is null."""
        return asdict(self)


class Monitor:
    """Looks at the machine when asked. Safe to use from any thread."""

    def __init__(
        self,
        outputs: Path,
        groups: ControlGroups | None = None,
        nvidia: NvidiaGpus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outputs = outputs
        """The folder whose disk is looked at."""
        self._groups = groups or ControlGroups()
        self._nvidia = nvidia or NvidiaGpus()
        self._clock = clock
        self._lock = threading.Lock()
        self._last: MachineStatus | None = None
        self._seen = 0.0
        self._load = _LoadMeter(self._groups, clock)

    def machine(self) -> MachineStatus:
        """The machine now, or a second ago."""
        with self._lock:
            if self._last is None or self._clock() - self._seen >= _FRESH:
                self._last = self._look()
                self._seen = self._clock()
            return self._last

    def driver(self) -> str | None:
        """The version of NVIDIA's driver, where there is one."""
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
        except _UNTOLD:
            return None
        limit = self._groups.memory()
        if limit is not None and limit.total < whole.total:
            return Amount(limit.used, limit.total)
        return Amount(whole.total - whole.available, whole.total)


class _LoadMeter:
    """Processor load since it was last asked for: the container's where one limits it, else the machine's."""

    def __init__(self, groups: ControlGroups, clock: Callable[[], float]) -> None:
        self._groups = groups
        self._clock = clock
        self._before: tuple[float, float] | None = None
        self.now(1.0)  # a load is a difference: the first look begins it

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
    except (*_UNTOLD, AttributeError):  # psutil has no such function on some systems
        return None
    return found.current or None if found else None


def free_disk(folder: Path) -> Amount | None:
    """The disk that a folder lies on, or would lie on."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            usage = psutil.disk_usage(str(place))
        except _UNTOLD:
            continue
        # Of what is free, a part may be kept for the system: what can be written counts.
        return Amount(usage.total - usage.free, usage.total)
    return None


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _busy_seconds() -> float | None:
    """Seconds that the processors this process may use have worked since the machine was started."""
    try:
        times = psutil.cpu_times(percpu=True)
    except _UNTOLD:
        return None
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(len(times))
    busy = [sum(times[place]) - _idle(times[place]) for place in mine if place < len(times)]
    return sum(busy)


def _idle(times: Any) -> float:
    # A guest's time is counted in the user's too.
    return float(times.idle + sum(getattr(times, name, 0.0) for name in ("iowait", "guest", "guest_nice")))
