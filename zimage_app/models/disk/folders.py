"""Recognises model folders by the names of their files. Reads no weights; doesn't import torch, so pages start fast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from zimage_app.models.disk.regular_file import read_regular

PARTIAL_FOLDER = ".fetching"
"""Subfolder of a model's folder for partial downloads."""
WANTED_FILE = "wanted.json"
"""File in it that lists all files to download; deleted once they are complete."""
WEIGHT_SUFFIXES = (".safetensors", ".gguf")
"""Suffixes of supported weight files."""
_MAX_LIST = 64 * 2**20
"""Maximum size in bytes of the list in WANTED_FILE and of a shard index."""


def shown(path: Path) -> str:
    """Return the last three parts of a path, to name a file in messages without revealing the whole path."""
    return "/".join(path.parts[-3:])


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that aren't hidden, sorted: macOS writes a hidden ``._`` file beside each that it copies."""
    return sorted(path for path in paths if not path.name.startswith("."))


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model: a diffusers folder, or single files in ComfyUI's subfolders."""
    # os.path instead of pathlib, which raises for names that are too long.
    return os.path.isfile(folder / "model_index.json") or os.path.isdir(folder / "diffusion_models")


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, as one file or as vocabulary and merges."""
    return (folder / "tokenizer.json").is_file() or all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    )


def still_wanted(folder: Path) -> set[str]:
    """Return the files, as paths relative to ``folder``, that an unfinished download still has to bring.

    File names alone don't tell this, because an incomplete tokenizer or set of shards may look complete.
    """
    try:
        names = json.loads(read_regular(folder / PARTIAL_FOLDER / WANTED_FILE, _MAX_LIST))
        return {str(name) for name in names if not (folder / str(name)).is_file()}
    except (OSError, ValueError, TypeError):
        return set()


def is_whole(path: Path) -> bool:
    """Whether a part of a model looks complete by its file names: a file, a tokenizer, or weights with a config."""
    if path.is_file() or is_tokenizer(path):
        return True
    if not (path / "config.json").is_file():
        return False
    indices = visible(path.glob("*.safetensors.index.json"))
    if not indices:
        return bool(visible(path.glob("*.safetensors")))
    try:
        names = set(json.loads(read_regular(indices[0], _MAX_LIST))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # present but damaged: opening it reports the error
    return all((path / str(name)).is_file() for name in names)
