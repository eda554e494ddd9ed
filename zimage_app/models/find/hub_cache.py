"""Finds repositories in the caches of huggingface_hub and ModelScope. Reads only; no network access."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from zimage_app.models.disk.folders import is_whole
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.model_source import Remote


def cached(remote: Remote) -> Path | None:
    """Return the path of a complete part of a repository in one of the caches, or None."""
    found = (folder / remote.path for folder in cached_repos(remote.repo))
    return next((path for path in found if is_whole(path)), None)


def cached_repos(repo: str) -> Iterator[Path]:
    """Yield the cache folders of a repository ``owner/name``, with the files laid out as on the hub."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    try:
        commit = read_regular(home / "refs" / "main", 2**10).decode().strip()
    except (OSError, UnicodeDecodeError):
        commit = ""
    if commit and (home / "snapshots" / commit).is_dir():
        yield home / "snapshots" / commit
    scope = Path(os.environ.get("MODELSCOPE_CACHE", "~/.cache/modelscope/hub")).expanduser()
    name = repo.replace(".", "___")  # ModelScope replaces dots in folder names
    yield from (folder for folder in (scope / "models" / name, scope / name) if folder.is_dir())
