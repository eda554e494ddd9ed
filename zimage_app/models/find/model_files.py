"""Opens the files of a model's parts: reads weight headers and configs, but no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_app.models.disk.folders import is_tokenizer
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.weights.weight_file import Weights, missing, open_file, open_folder, read_json

CONFIGS = Path(__file__).parents[1] / "configs"
"""Config files of the published model, for single-file weights, which have none."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The opened files of one part of a model."""

    weights: Weights
    config: Mapping[str, Any]
    config_file: Path


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The opened files of a model: headers and configs are read, weights are not."""

    transformer: PartFiles
    vae: PartFiles
    text_encoder: PartFiles
    tokenizer: Path

    @property
    def parameters(self) -> int:
        """Number of parameters of all parts."""
        return sum(part.weights.parameters for part in (self.transformer, self.vae, self.text_encoder))


def model_files(source: ModelSource) -> ModelFiles:
    """Open the files of a model.

    Weights without a config of their own use the one under ``configs/`` in the model's folder, or else the published
    model's.

    Raises ModelError if a file is missing or damaged.
    """
    if source.index is not None:
        read_json(source.index)
    return ModelFiles(
        transformer=part_files(source, "transformer"),
        vae=part_files(source, "vae"),
        text_encoder=part_files(source, "text_encoder"),
        tokenizer=_tokenizer(source.places.tokenizer.path),
    )


def part_files(source: ModelSource, name: str) -> PartFiles:
    """Open one part: ``transformer``, ``vae`` or ``text_encoder``; raises ModelError as ``model_files`` does."""
    place = source.places.by_name[name]
    config_file = place.config or _published_config(source.folder, name)
    config = read_json(config_file)
    weights = open_folder(place.path) if place.path.is_dir() else open_file(place.path)
    return PartFiles(weights, config, config_file)


def _published_config(folder: Path, part: str) -> Path:
    own = folder / "configs" / part / "config.json"
    return own if own.is_file() else CONFIGS / part / "config.json"


def _tokenizer(folder: Path) -> Path:
    if not is_tokenizer(folder):
        raise missing(folder / "tokenizer.json")
    return folder
