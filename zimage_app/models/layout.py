"""Which files make a model: its parts' weights and configs, in diffusers' folder layout or ComfyUI's.

Knows where things lie and opens headers; knows neither formats nor what a tensor is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_app.models.files import Weights, missing, open_folder, read_json

CONFIGS = Path(__file__).parent / "configs"
"""The published model's own config files, for weights that come as single files without any."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """One part of a model on the disk."""

    weights: Weights
    config: Mapping[str, Any]
    config_file: Path


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on the disk: found, whole as far as headers tell, and not read."""

    transformer: PartFiles
    vae: PartFiles
    text_encoder: PartFiles
    tokenizer: Path

    @property
    def parameters(self) -> int:
        """Of all its parts."""
        return sum(part.weights.parameters for part in (self.transformer, self.vae, self.text_encoder))


_COMFY_FOLDERS = {"transformer": "diffusion_models", "vae": "vae", "text_encoder": "text_encoders"}
"""ComfyUI's names for the folders of its single files."""


def model_files(folder: Path) -> ModelFiles:
    """The files of a model folder, in either layout.

    In ComfyUI's layout the configs are the published model's, unless the folder has its own under ``configs/``.

    Raises ModelError for what is missing or damaged.
    """
    comfy = (folder / "diffusion_models").is_dir()
    if not comfy:
        read_json(folder / "model_index.json")
    parts = {}
    for name, comfy_name in _COMFY_FOLDERS.items():
        config_file = _comfy_config(folder, name) if comfy else folder / name / "config.json"
        config = read_json(config_file)
        parts[name] = PartFiles(open_folder(folder / (comfy_name if comfy else name)), config, config_file)
    return ModelFiles(**parts, tokenizer=_tokenizer(folder / "tokenizer"))


def _comfy_config(folder: Path, part: str) -> Path:
    own = folder / "configs" / part / "config.json"
    return own if own.is_file() else CONFIGS / part / "config.json"


def _tokenizer(folder: Path) -> Path:
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise missing(folder / "tokenizer.json")
    return folder
