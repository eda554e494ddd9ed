"""Locations of a model's parts, on disk and on a hub. Plain values; opens no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zimage_app.domain.card import ModelCard
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import is_whole, still_wanted

PARTS = ("transformer", "text_encoder", "vae", "tokenizer")
"""The parts of a model; diffusers uses the same names for their folders."""

QWEN_TOKENIZER = ("Tongyi-MAI/Z-Image-Turbo", "tokenizer")
"""Repository and folder to download the tokenizer from; all models of the family have the same one."""

_FOLDERS = {"Tongyi-MAI/Z-Image-Turbo": "z-image-turbo", "Tongyi-MAI/Z-Image": "z-image"}
"""Published repository -> its folder name under ``models/``."""


def repo_folder(repo: str) -> str:
    """Return the folder name under ``models/`` that a hub repository ``owner/name`` is downloaded into."""
    return _FOLDERS.get(repo, repo.replace("/", "--"))


@dataclass(frozen=True, slots=True)
class Remote:
    """A part of a model on a hub."""

    repo: str
    """``owner/name``."""
    path: str
    """Path of a folder or a file in the repository."""
    is_file: bool = False

    def holds(self, path: str) -> bool:
        """Whether a file of the repository belongs to this part."""
        return path == self.path if self.is_file else path.startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True)
class PartLocation:
    """Location of one part of a model, downloaded or not: a folder or a single file."""

    path: Path
    config: Path | None = None
    """The part's config file; None means the published model's."""
    remote: Remote | None = None
    """Where the part can be downloaded from; None for the user's own files."""

    @property
    def present(self) -> bool:
        """Whether nothing has to be downloaded. Missing files of the user's own are reported when they are opened."""
        if self.remote is None:
            return True
        home = self.path.parents[len(PurePosixPath(self.remote.path).parts) - 1]
        return is_whole(self.path) and not any(map(self.remote.holds, still_wanted(home)))


@dataclass(frozen=True, slots=True)
class PartLocations:
    """Locations of all parts of a model."""

    transformer: PartLocation
    text_encoder: PartLocation
    vae: PartLocation
    tokenizer: PartLocation

    @property
    def by_name(self) -> dict[str, PartLocation]:
        """The locations by the names of PARTS."""
        return {name: getattr(self, name) for name in PARTS}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model: its card and the locations of its parts."""

    card: ModelCard
    places: PartLocations
    folder: Path
    """The model's folder, for ``configs/`` and ``preview.json``; need not exist."""
    index: Path | None = None
    """The ``model_index.json`` of a diffusers folder."""
    notes: tuple[Text, ...] = ()
    """Messages about parts that were chosen from several candidates."""
    about: float | None = None
    """Approximate download size of the whole model in bytes."""

    @property
    def missing(self) -> dict[str, PartLocation]:
        """The parts that have to be downloaded, by the names of PARTS."""
        return {name: place for name, place in self.places.by_name.items() if not place.present}

    @property
    def present(self) -> bool:
        """Whether nothing has to be downloaded."""
        return not self.missing


def diffusers_source(card: ModelCard, folder: Path) -> ModelSource:
    """Return the source of a model in a diffusers folder."""
    parts = {name: PartLocation(folder / name, folder / name / "config.json") for name in PARTS[:3]}
    places = PartLocations(**parts, tokenizer=PartLocation(folder / "tokenizer"))
    return ModelSource(card, places, folder, index=folder / "model_index.json")


def comfy_source(card: ModelCard, folder: Path) -> ModelSource:
    """Return the source of a model in its own folder with ComfyUI's subfolders, each holding one file."""
    places = PartLocations(
        transformer=PartLocation(folder / "diffusion_models"),
        text_encoder=PartLocation(folder / "text_encoders"),
        vae=PartLocation(folder / "vae"),
        tokenizer=PartLocation(folder / "tokenizer"),
    )
    return ModelSource(card, places, folder)
