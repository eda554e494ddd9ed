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


class StoredChoices:
    """The choices for one device, driver, network and set of package versions (``ChoiceCache`` of ``kernels.py``).

    One file holds those of all devices of this machine. An unreadable file counts as empty.
    """

    def __init__(self, path: Path, device: str, network: str) -> None:
        self._path = path
        self._section = ", ".join([device, network, *map(_version, _PACKAGES)])

    def get(self, key: str) -> Mapping[str, str]:
        """See ``ChoiceCache``."""
        known = self._read().get(self._section)
        names = known.get(key) if isinstance(known, dict) else None
        return {str(part): str(name) for part, name in names.items()} if isinstance(names, dict) else {}

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """See ``ChoiceCache``; if the file can't be written, kernels are measured again next time."""
        data = self._read()
        known = data.get(self._section)
        data[self._section] = (known if isinstance(known, dict) else {}) | {key: dict(names)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(data, indent=1, sort_keys=True).encode())
        except OSError as error:
            log.warning("which kernels are quicker cannot be written to %s: %s", self._path.name, error)

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(read_regular(self._path, _MAX_FILE))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"
