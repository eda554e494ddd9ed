"""Settings for Hugging Face Spaces, from environment variables.

A Space is public, listens on all interfaces at port 7860, and loses its disk when it restarts, unless a volume is
mounted; pictures, models and LoRAs then go there. https://huggingface.co/docs/hub/spaces-overview
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.text import Text

SPACE = "SPACE_ID"
ZERO_GPU = "SPACES_ZERO_GPU"
DATA = "ZIMAGE_DATA"
"""Variable with the mount point of the Space's volume, if not the usual one."""
_USUAL_DATA = "/data"
_PORT = 7860


def on_space(environment: Mapping[str, str]) -> bool:
    """Whether the app runs as a Space."""
    return bool(environment.get(SPACE))


def on_zero_gpu(environment: Mapping[str, str]) -> bool:
    """Whether the Space borrows a GPU per call (ZeroGPU)."""
    return on_space(environment) and environment.get(ZERO_GPU, "").lower() in ("1", "true", "t")


def import_spaces() -> None:
    """Import the ``spaces`` package, which must patch torch before anything uses a GPU.

    Raises:
        GenerationError: the package is missing.
    """
    try:
        importlib.import_module("spaces")
    except ImportError as error:
        raise GenerationError(
            Text(
                "A Space with ZeroGPU needs the package spaces; add it to requirements.txt.",
                "ZeroGPU Space 需要 spaces 包；请把它加入 requirements.txt。",
            )
        ) from error


def space_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Default settings on a Space, none elsewhere; with ``fetch``, a model that its owner names is downloaded."""
    if not on_space(environment):
        return {}
    settings: dict[str, Any] = {"host": "0.0.0.0", "port": _PORT, "public": True, "fetch": True}
    volume = _volume(environment)
    if volume is not None:
        settings |= {"outputs": volume / "outputs", "models_dir": volume / "models", "loras": volume / "loras"}
    return settings


def _volume(environment: Mapping[str, str]) -> Path | None:
    """The folder that survives a restart, where there is one."""
    named = environment.get(DATA)
    folder = Path(named or _USUAL_DATA)
    if named or os.path.ismount(folder):
        return folder
    return None
