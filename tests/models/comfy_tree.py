"""A ComfyUI installation with files that bear the marks of what they are, and little else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH = 2560
"""Of the features that a Z-Image takes."""


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.bfloat16) -> Path:
    """A file with tensors of these shapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {key: torch.zeros(shape, dtype=dtype) for key, shape in shapes.items()}
    save_file(tensors, path)
    return path


def transformer(path: Path, dtype: torch.dtype = torch.bfloat16, prefix: str = "model.diffusion_model.") -> Path:
    """What tells a Z-Image's transformer."""
    marks = {"x_pad_token": (1, 8), "cap_pad_token": (1, 8), "cap_embedder.0.weight": (WIDTH,)}
    return write(path, {prefix + key: shape for key, shape in marks.items()}, dtype)


def encoder(path: Path, dtype: torch.dtype = torch.bfloat16, width: int = WIDTH) -> Path:
    """What tells a Qwen3 of that width."""
    marks: dict[str, tuple[int, ...]] = {
        "model.layers.0.self_attn.q_norm.weight": (128,),
        "model.layers.0.input_layernorm.weight": (width,),
    }
    return write(path, marks, dtype)


def vae(path: Path, channels: int = 16) -> Path:
    """What tells an autoencoder with so many channels."""
    return write(path, {"decoder.conv_in.weight": (8, channels, 3, 3)})


def tokenizer(folder: Path, words: int = 151_643) -> Path:
    """What looks like Qwen's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({str(number): number for number in range(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version", encoding="utf-8")
    return folder
