"""What a repository on a hub holds, and which of it a part of a model needs. Plain values; no network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from zimage_app.models.find.model_source import Remote

INDEX = "model_index.json"
"""The file that makes a folder a model."""
_BESIDE = (INDEX, "scheduler/scheduler_config.json")
"""What makes a folder of parts one that other programs read too."""
_WEIGHTS = ".safetensors"
_SMALL = (".json", ".txt", ".model")
"""Configs, indices of shards, word lists."""
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|ema|non_ema)[.-]")
"""Second copies of the same weights, as diffusers names them."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file's bytes come to."""

    kind: Literal["sha256", "git-sha1"]
    """Hubs publish the first for all big files; git's own sum of a file of ``size`` bytes for small ones."""
    value: str

    def hasher(self, size: int) -> Any:
        """A fresh hash to feed the file's bytes to."""
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
class Listing:
    """A repository at one revision."""

    repo: str
    revision: str
    files: tuple[RepoFile, ...]

    def needed(self, remotes: Iterable[Remote]) -> tuple[RepoFile, ...]:
        """The files that parts of a model need, small ones first: no other formats, no second copies of weights.

        A model's index comes last, so that a folder looks like a model only when it is one.
        """
        wanted = [remote for remote in remotes if remote.repo == self.repo]
        files = {file.path: file for remote in wanted for file in self.part(remote)}
        first = sorted(files.values(), key=lambda file: (file.size, file.path))
        if any(not remote.is_file and remote.path == "transformer" for remote in wanted):
            beside = {file.path: file for file in self.files if file.path in _BESIDE}
            first += [beside[path] for path in reversed(_BESIDE) if path in beside]
        return tuple(first)

    def part(self, remote: Remote) -> list[RepoFile]:
        """The files of one part; empty where the repository does not have it in a form that can be used."""
        held = [file for file in self.files if remote.holds(file.path)]
        if remote.is_file:
            return held
        weights = [file for file in held if file.path.endswith(_WEIGHTS) and not _VARIANT.search(file.path)]
        shards = [file for file in weights if _SHARD.search(file.path)]
        small = [file for file in held if file.path.endswith(_SMALL) and not _VARIANT.search(file.path)]
        can_be_used = weights or any(PurePosixPath(file.path).name in _TOKENIZERS for file in small)
        return (shards or weights) + small if can_be_used else []


def is_inside(path: str) -> bool:
    """Whether a path that a hub names stays inside the folder that it is put into."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and not set(path) & set("\\:")
