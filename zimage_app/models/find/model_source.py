"""Where the parts of a model are, and where they could be fetched from. Plain values; opens no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zimage_app.domain.card import ModelCard
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import is_whole, still_wanted

PARTS = ("transformer", "text_encoder", "vae", "tokenizer")
"""diffusers' names of the parts of a model, and of their folders."""

QWEN_TOKENIZER = ("Tongyi-MAI/Z-Image-Turbo", "tokenizer")
"""A repository and folder that hold the family's tokenizer; it is the same in all of them."""

_FOLDERS = {"Tongyi-MAI/Z-Image-Turbo": "z-image-turbo", "Tongyi-MAI/Z-Image": "z-image"}
"""What the published repositories are called under ``models/``."""


def repo_folder(repo: str) -> str:
    """The name of the folder under ``models/`` that a hub repository, ``owner/name``, is fetched into."""
    return _FOLDERS.get(repo, repo.replace("/", "--"))


@dataclass(frozen=True, slots=True)
class Remote:
    """A part of a model on a hub."""

    repo: str
    """``owner/name``."""
    path: str
    """In the repository: a folder or a file."""
    is_file: bool = False

    def holds(self, path: str) -> bool:
        """Whether a file of the repository belongs to it."""
        return path == self.path if self.is_file else path.startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True)
class PartLocation:
    """Where one part of a model is, or would be once it is fetched: a folder, or a file of its own."""

    path: Path
    config: Path | None = None
    """The file that describes it; None: the published model's."""
    remote: Remote | None = None
    """Where it can be fetched from."""

    @property
    def present(self) -> bool:
        """Whether there is nothing to fetch. What is wrong with a user's own files is said when they are opened."""
        if self.remote is None:
            return True
        home = self.path.parents[len(PurePosixPath(self.remote.path).parts) - 1]
        return is_whole(self.path) and not any(map(self.remote.holds, still_wanted(home)))


@dataclass(frozen=True, slots=True)
class PartLocations:
    """Those of all parts of a model."""

    transformer: PartLocation
    text_encoder: PartLocation
    vae: PartLocation
    tokenizer: PartLocation

    @property
    def by_name(self) -> dict[str, PartLocation]:
        """By the names of PARTS."""
        return {name: getattr(self, name) for name in PARTS}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model: its card, and where its parts are."""

    card: ModelCard
    places: PartLocations
    folder: Path
    """Its own folder, for ``configs/`` and ``preview.json``; need not exist."""
    index: Path | None = None
    """The ``model_index.json`` of a diffusers folder."""
    notes: tuple[Text, ...] = ()
    """What was chosen for it, where there was a choice."""
    about: float | None = None
    """Roughly how many bytes there are to fetch for all of it."""

    @property
    def missing(self) -> dict[str, PartLocation]:
        """The parts that have to be fetched, by the names of PARTS."""
        return {name: place for name, place in self.places.by_name.items() if not place.present}

    @property
    def present(self) -> bool:
        """Whether there is nothing to fetch."""
        return not self.missing


def diffusers_source(card: ModelCard, folder: Path) -> ModelSource:
    """A whole diffusers folder."""
    parts = {name: PartLocation(folder / name, folder / name / "config.json") for name in PARTS[:3]}
    places = PartLocations(**parts, tokenizer=PartLocation(folder / "tokenizer"))
    return ModelSource(card, places, folder, index=folder / "model_index.json")


def comfy_source(card: ModelCard, folder: Path) -> ModelSource:
    """A folder of its own for one model, in ComfyUI's layout: one file in each of its folders."""
    places = PartLocations(
        transformer=PartLocation(folder / "diffusion_models"),
        text_encoder=PartLocation(folder / "text_encoders"),
        vae=PartLocation(folder / "vae"),
        tokenizer=PartLocation(folder / "tokenizer"),
    )
    return ModelSource(card, places, folder)
