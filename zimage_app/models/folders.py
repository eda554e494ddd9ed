"""What a model's folder is called and looks like from outside. Opens no file; imports no torch, so pages start fast."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path) -> str:
    """The end of a path: enough to find the file, without the whole machine."""
    return "/".join(path.parts[-3:])


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model: a diffusers folder, or ComfyUI's single files in ComfyUI's folders."""
    return (folder / "model_index.json").is_file() or (folder / "diffusion_models").is_dir()
