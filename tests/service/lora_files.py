"""Writes LoRA files for tests of the library: valid safetensors files, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH = 64


def lora_shapes(width: int = WIDTH, rank: int = 4, prefix: str = "diffusion_model.") -> dict[str, tuple[int, ...]]:
    """Return the tensor shapes of a small LoRA for a model of this width."""
    module = f"{prefix}layers.0.attention.to_q"
    return {f"{module}.lora_A.weight": (rank, width), f"{module}.lora_B.weight": (width, rank)}


def write_lora(
    path: Path, metadata: Mapping[str, str] | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Path:
    """Write a LoRA file of zeros, creating its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: np.zeros(shape, np.float16) for key, shape in (shapes or lora_shapes()).items()}
    save_file(tensors, path, dict(metadata) if metadata else None)
    return path


def write_json(path: Path, data: object) -> Path:
    """Write a JSON file; return its path."""
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path
