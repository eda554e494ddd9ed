"""The files of a hub repository, and which of them a part of a model needs. Plain values; no network access."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from zimage_app.models.find.model_source import Remote

INDEX = "model_index.json"
"""The file by which a folder is recognised as a diffusers model."""
_BESIDE = (INDEX, "scheduler/scheduler_config.json")
"""Files that other programs need besides the parts to read the folder."""
_WEIGHTS = ".safetensors"
_SMALL = (".json", ".txt", ".model")
"""Configs, shard indices, vocabularies."""
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|ema|non_ema)[.-]")
"""diffusers' file names of variants: additional copies of the same weights."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The published checksum of a file."""

    kind: Literal["sha256", "git-sha1"]
    """Hubs publish SHA-256 for large files, and git's blob hash for small ones."""
    value: str

    def hasher(self, size: int) -> Any:
        """Return a new hash object for a file of ``size`` bytes; git's blob hash includes the size."""
        if self.kind == "sha256":
            return hashlib.sha256()
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a repository."""

    path: str
    size: int
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class RepoListing:
    """The files of a repository at one revision."""

    repo: str
    revision: str
    files: tuple[RepoFile, ...]

    def needed(self, remotes: Iterable[Remote]) -> tuple[RepoFile, ...]:
        """Return the files that these parts need, smallest first, without other formats and variants.

        The model index comes last, so that a folder is recognised as a model only when it is complete.
        """
        wanted = [remote for remote in remotes if remote.repo == self.repo]
        files = {file.path: file for remote in wanted for file in self.part(remote)}
        first = sorted(files.values(), key=lambda file: (file.size, file.path))
        if any(not remote.is_file and remote.path == "transformer" for remote in wanted):
            beside = {file.path: file for file in self.files if file.path in _BESIDE}
            first += [beside[path] for path in reversed(_BESIDE) if path in beside]
        return tuple(first)

    def part(self, remote: Remote) -> list[RepoFile]:
        """Return the files of one part; empty if the repository doesn't have it in a usable form."""
        held = [file for file in self.files if remote.holds(file.path)]
        if remote.is_file:
            return held
        weights = [file for file in held if file.path.endswith(_WEIGHTS) and not _VARIANT.search(file.path)]
        shards = [file for file in weights if _SHARD.search(file.path)]
        small = [file for file in held if file.path.endswith(_SMALL) and not _VARIANT.search(file.path)]
        can_be_used = weights or any(PurePosixPath(file.path).name in _TOKENIZERS for file in small)
        return (shards or weights) + small if can_be_used else []


def is_inside(path: str) -> bool:
    """Whether a path from a hub's listing stays inside the target folder."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and not set(path) & set("\\:")
