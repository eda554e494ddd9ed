"""Memory and CPU limits of a container, from Linux control groups (versions 1 and 2). Other systems have no limits.

The files are described in https://docs.kernel.org/admin-guide/cgroup-v2.html and ``cgroup-v1/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zimage_app.service.diagnostics.gpus import Amount

_UNLIMITED = 1 << 60
"""Bytes from which a limit counts as none; version 1 writes a number near 2^63 for no limit."""


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """The control groups of this process; without them, there are no limits."""

    mount: Path = Path("/sys/fs/cgroup")
    of_process: Path = Path("/proc/self/cgroup")

    def memory(self) -> Amount | None:
        """The tightest memory limit, and what is used without the file cache, which the system can reclaim."""
        limits = [limit for folder in self._folders("memory") if (limit := _memory(folder))]
        return min(limits, key=lambda limit: limit.total, default=None)

    def processors(self) -> float | None:
        """The CPU limit in processors, as in 1.5; None where there is none."""
        return min(filter(None, map(_processors, self._folders("cpu"))), default=None)

    def processor_seconds(self) -> float | None:
        """Seconds of CPU time that the container has used; None where it is not measured."""
        for folder in self._folders("cpu"):
            if (microseconds := _keyed(folder / "cpu.stat", "usage_usec")) is not None:
                return microseconds / 1e6
        for folder in self._folders("cpuacct"):
            if (nanoseconds := _number(folder / "cpuacct.usage")) is not None:
                return nanoseconds / 1e9
        return None

    def _folders(self, controller: str) -> Iterator[Path]:
        """Folders of this process's group and its parents, innermost first; the limits of all of them apply."""
        for root, inside in ((self.mount, ""), (self.mount / controller, controller)):
            path = root / self._path(inside).lstrip("/")
            # Inside a container the group's path is that of the host, but its files are at the mount's root.
            group = path if path.is_dir() else root
            for folder in (group, *group.parents):
                if folder.is_dir():
                    yield folder
                if folder == root:
                    break

    def _path(self, controller: str) -> str:
        """The path of this process's group for a version 1 controller, or for version 2 with an empty name."""
        for line in _text(self.of_process).splitlines():
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if controller in names.split(","):
                return path
        return ""


def _memory(folder: Path) -> Amount | None:
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        total, used = _number(folder / limit), _number(folder / usage)
        if total is not None and used is not None and 0 < total < _UNLIMITED:
            return Amount(max(0, used - (_keyed(folder / "memory.stat", cache) or 0)), total)
    return None


def _processors(folder: Path) -> float | None:
    given = _text(folder / "cpu.max").split()
    if len(given) != 2:
        given = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if not all(part.isdecimal() for part in given) or int(given[1]) == 0:
        return None
    return int(given[0]) / int(given[1]) or None


def _keyed(path: Path, key: str) -> int | None:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
