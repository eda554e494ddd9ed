"""The library of upscaling models: listing, finding by name, and enlarging a start picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from zimage_app.domain.errors import RequestError
from zimage_app.domain.settings.stage import MAX_SIDE
from zimage_app.domain.settings.start_picture import StartPicture, Upscaler
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import visible

if TYPE_CHECKING:
    import torch

FIELD = "start.upscaler"
FOLDERS = ("upscalers", "upscale_models")
"""Folders below a folder of models; the second is ComfyUI's."""
SUFFIXES = (".safetensors", ".pth")
_MAX_PIXELS = (4 * MAX_SIDE) ** 2
"""Pixels of an enlarged picture, before it is resized to its stage."""


class UpscalerLibrary:
    """The upscalers in some folders; where two have the same name, the one in the earlier folder is used."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self._folders = tuple(root / name for root in roots for name in FOLDERS)

    def names(self) -> tuple[str, ...]:
        """Sorted names of the files."""
        return tuple(sorted(self._files()))

    def check(self, upscaler: Upscaler | None) -> None:
        """Check that an upscaler's file exists; raises RequestError as ``find`` does."""
        if upscaler is not None:
            self.find(upscaler.name)

    def find(self, name: str) -> Path:
        """Find a file by name; raises RequestError where there is none."""
        files = self._files()
        if name not in files:
            here = ", ".join(sorted(files)) or "-"
            raise RequestError(
                FIELD,
                Text(
                    f"there is no {name!r} in models/{FOLDERS[0]}/; there are: {here}; leave it out for Lanczos",
                    f"models/{FOLDERS[0]}/ 中没有 {name!r}；现有：{here}；不填则使用 Lanczos",
                ),
            )
        return files[name]

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            for path in visible(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in SUFFIXES:
                    found.setdefault(path.name, path)
        return found


def enlarged_start(
    start: StartPicture,
    picture: Image.Image,
    library: UpscalerLibrary,
    device: torch.device,
    cancelled: Callable[[], bool],
) -> tuple[StartPicture, Image.Image]:
    """Enlarge a start picture by its upscaler; returns ``start`` with the upscaler's hash, and the picture.

    Raises:
        RequestError: there is no such file, its hash differs from the given one, or the result would be too large.
        ModelError: the file can't be used.
        LoadingCancelled: ``cancelled`` returned True.
        GenerationError: memory ran out.
    """
    import numpy as np  # these imports take seconds

    from zimage_app.engine.enlarge import enlarged
    from zimage_app.models.networks.esrgan import read_upscaler

    wanted = start.upscaler
    assert wanted is not None
    upscaler = read_upscaler(library.find(wanted.name))
    if wanted.sha256 not in (None, upscaler.sha256):
        raise RequestError(FIELD, _another_file(wanted.name, str(wanted.sha256), upscaler.sha256))
    pixels = picture.width * picture.height * upscaler.scale**2
    if pixels > _MAX_PIXELS:
        raise RequestError(FIELD, _too_many(wanted.name, picture.size, pixels))
    known = start.model_copy(update={"upscaler": wanted.model_copy(update={"sha256": upscaler.sha256})})
    return known, Image.fromarray(enlarged(np.asarray(picture), upscaler, device, cancelled))


def _another_file(name: str, wanted: str, found: str) -> Text:
    return Text(
        f"{name} is another file than the one in these settings ({found[:10]} instead of {wanted[:10]}); put that one"
        " back, or leave its sha256 out to use this one",
        f"{name} 与参数中记录的不是同一个文件（现为 {found[:10]}，原为 {wanted[:10]}）；"
        "请放回原文件，或去掉 sha256 以使用现在的文件",
    )


def _too_many(name: str, size: tuple[int, int], pixels: int) -> Text:
    width, height = size
    return Text(
        f"{name} would make {pixels / 1e6:.0f} million pixels of {width} x {height}; at most"
        f" {_MAX_PIXELS / 1e6:.0f} million are possible, so leave it out or make the picture smaller",
        f"{name} 会把 {width} × {height} 放大到 {pixels / 1e4:.0f} 万像素，最多 {_MAX_PIXELS / 1e4:.0f} 万像素；"
        "请不使用放大模型，或先缩小图片",
    )
