"""What model folders are called and look like from outside. Reads no weights; imports no torch, so pages start fast."""

from __future__ import annotations

import json
import os
from pathlib import Path

from zimage_app.models.disk.regular_file import read_regular

GROWING = ".fetching"
"""The folder in a model's, where files grow until they are whole."""
WANTED = "wanted.json"
"""The list in it of all the files that a fetch is to bring; gone when they are there."""
_MAX_LIST = 64 * 2**20
"""Bytes of such a list, and of an index of shards."""


def shown(path: Path) -> str:
    """The end of a path: enough to find the file, without the whole machine."""
    return "/".join(path.parts[-3:])


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model: a diffusers folder, or ComfyUI's single files in ComfyUI's folders."""
    # pathlib raises for names that are too long to be one.
    return os.path.isfile(folder / "model_index.json") or os.path.isdir(folder / "diffusion_models")


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer: in one file, or as word list and merges."""
    return (folder / "tokenizer.json").is_file() or all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    )


def still_wanted(folder: Path) -> set[str]:
    """The files, by their paths in ``folder``, that a fetch into it was to bring and has not yet.

    Names alone do not tell: of a tokenizer or of shards, those that are there may look like all.
    """
    try:
        names = json.loads(read_regular(folder / GROWING / WANTED, _MAX_LIST))
        return {str(name) for name in names if not (folder / str(name)).is_file()}
    except (OSError, ValueError, TypeError):
        return set()


def is_whole(path: Path) -> bool:
    """Whether a part of a model is all there as far as names tell: a file, a tokenizer, weights with a config."""
    if path.is_file() or is_tokenizer(path):
        return True
    if not (path / "config.json").is_file():
        return False
    indices = sorted(path.glob("*.safetensors.index.json"))
    if not indices:
        return any(path.glob("*.safetensors"))
    try:
        names = set(json.loads(read_regular(indices[0], _MAX_LIST))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # there, and damaged: whoever opens it says what is wrong with it
    return all((path / str(name)).is_file() for name in names)
