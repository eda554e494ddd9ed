"""A cache on disk of the fastest kernel per device, driver and package versions. Independent of the kernels."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

_MAX_FILE = 2**20
"""Bytes."""

_PACKAGES = ("torch", "comfy-kitchen", "triton")
"""Whose versions decide, beside the device's driver."""


class KernelMemory:
    """One file for all devices of this machine. Unreadable content is ignored."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on(self, device: str, network: str) -> CachedChoices:
        """The cached choices for one device, driver, network and set of package versions."""
        return CachedChoices(self, ", ".join([device, network, *map(_version, _PACKAGES)]))

    def read(self) -> dict[str, Any]:
        """All that is known: by place, then by shape."""
        try:
            data = json.loads(read_regular(self._path, _MAX_FILE))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def write(self, data: Mapping[str, Any]) -> None:
        """Write the choices to disk; if that fails, kernels are measured again the next time."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(data, indent=1, sort_keys=True).encode())
        except OSError as error:
            log.warning("which kernels are quicker cannot be written to %s: %s", self._path.name, error)


class CachedChoices:
    """The kernel chosen for each shape on one device (the ChoiceCache protocol of ``kernels.py``)."""

    def __init__(self, memory: KernelMemory, place: str) -> None:
        self._memory = memory
        self._place = place

    def get(self, key: str) -> Mapping[str, str]:
        """See ``ChoiceCache``."""
        known = self._memory.read().get(self._place)
        names = known.get(key) if isinstance(known, dict) else None
        return {str(part): str(name) for part, name in names.items()} if isinstance(names, dict) else {}

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """See ``ChoiceCache``."""
        data = self._memory.read()
        known = data.get(self._place)
        data[self._place] = (known if isinstance(known, dict) else {}) | {key: dict(names)}
        self._memory.write(data)


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"
