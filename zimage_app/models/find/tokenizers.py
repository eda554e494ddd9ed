"""Finds a tokenizer for weights that come without one, and checks its files. Doesn't import torch.

All models of the family use the same tokenizer, Qwen's, so any copy of it will do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from zimage_app.models.disk.folders import is_tokenizer
from zimage_app.models.disk.regular_file import open_regular, read_regular
from zimage_app.models.find.hub_cache import cached_repos
from zimage_app.models.find.model_source import QWEN_TOKENIZER, PartLocation, Remote, repo_folder

MAX_LIST = 64 * 2**20
"""Bytes; Qwen's has 11 million."""
_MAX_SHOWN = 60
_WORDS = 151_643
"""Size of Qwen's vocabulary without special tokens (Qwen2 and Qwen3)."""
_COMFY_TOKENIZER = Path("comfy", "text_encoders", "qwen25_tokenizer")
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen's tokenizer cuts texts."""
_PATTERN = re.compile(re.escape(QWEN_PATTERN) + r"|\[[^\[\]]+\]\+?")
"""The patterns that a tokenizer may cut texts with: Qwen's own, and one set of letters. Others can take centuries."""
_REPOS = {"Tongyi-MAI/Z-Image-Turbo": "tokenizer", "Tongyi-MAI/Z-Image": "tokenizer", "Qwen/Qwen3-4B": ""}
"""Repository -> the tokenizer's folder in it, to be found in other programs' caches."""


def find_tokenizer(models: Path, comfyui: Path | None = None) -> PartLocation:
    """Locate Qwen's tokenizer: in ComfyUI, in a model under ``models``, or in a cache.

    If there is none, return the location that it can be downloaded to.
    """
    candidates = _candidates(models, comfyui)
    found = next((folder for folder in candidates if is_tokenizer(folder) and _words(folder) == _WORDS), None)
    if found is not None:
        return PartLocation(found)
    repo, path = QWEN_TOKENIZER
    return PartLocation(models / repo_folder(repo) / path, remote=Remote(repo, path))


def check_tokenizer(folder: Path) -> None:
    """Check a tokenizer's files before a library reads them.

    Raises:
        ValueError: a file holds a regular expression that isn't Qwen's.
        OSError: a file isn't a regular file, or is too large.
    """
    for path in folder.iterdir():
        if not path.is_dir():
            open_regular(path, MAX_LIST).close()
    for path in folder.glob("tokenizer*.json"):  # tokenizer_config.json may name another than the usual one
        pattern = next(_strange_patterns(json.loads(read_regular(path, MAX_LIST))), None)
        if pattern is not None:
            shown = repr(pattern[:_MAX_SHOWN])
            raise ValueError(f"{path.name} cuts texts with {shown}, which is not Qwen's pattern")


def _strange_patterns(data: Any) -> Iterator[str]:
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            pattern = item.get("Regex")
            if isinstance(pattern, str) and _PATTERN.fullmatch(pattern) is None:
                yield pattern
            waiting += [value for key, value in item.items() if key != "vocab"]
        elif isinstance(item, list):
            waiting += [each for each in item if isinstance(each, dict | list)]


def _candidates(models: Path, comfyui: Path | None) -> Iterator[Path]:
    if comfyui is not None:
        yield from (comfyui / _COMFY_TOKENIZER, comfyui.parent / _COMFY_TOKENIZER)
    if models.is_dir():
        yield from sorted(models.glob("*/tokenizer"))
    for repo, path in _REPOS.items():
        yield from (folder / path for folder in cached_repos(repo))


def _words(folder: Path) -> int:
    name = "vocab.json" if (folder / "vocab.json").is_file() else "tokenizer.json"
    return _count(folder / name, (folder / name).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _count(path: Path, changed: int) -> int:  # noqa: ARG001 - part of the cache's key
    """Return the number of entries of a vocabulary file; 0 if it can't be read."""
    try:
        data = json.loads(read_regular(path, MAX_LIST))
        words = data["model"]["vocab"] if path.name == "tokenizer.json" else data
        return len(words)
    except (OSError, ValueError, KeyError, TypeError):
        return 0
