"""The folders of a command, from its flags and, as for the app, from studio.yaml and the environment."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.settings import settle

_FLAGS = {
    "out": "outputs",
    "outputs": "outputs",
    "loras": "loras",
    "models_dir": "models",
    "comfyui": "comfyui",
    "offline": "offline",
    "device": "device",
}
"""Parsed options and the fields of StudioConfig that they set."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def add_place_flags(parser: argparse.ArgumentParser, default: object = None) -> None:
    """Add ``--models-dir`` and ``--comfyui``, the folders of models."""
    parser.add_argument("--models-dir", type=Path, default=default, metavar="DIR", help="default: models/")
    parser.add_argument(
        "--comfyui", type=Path, default=default, metavar="DIR", help="a ComfyUI whose models are offered too"
    )


def add_alone_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--alone``: make the picture in this process, even where the app is running."""
    parser.add_argument(
        "--alone", action="store_true", help="in a process of its own, also where the app is running (it needs memory)"
    )


def config_of(options: argparse.Namespace | None = None) -> StudioConfig:
    """The app's configuration, changed by a command's flags.

    Raises:
        StudioError: a setting in the environment or in studio.yaml is invalid, or ``--out`` names a picture.
    """
    given = {field: value for flag, field in _FLAGS.items() if (value := getattr(options, flag, None))}
    outputs = given.get("outputs")
    if outputs is not None and outputs.suffix.lower() in _PICTURES and not outputs.is_dir():
        raise RequestError(
            "--out",
            Text(
                f"{outputs.name} is a picture's name; give a folder, in which pictures are named by date and number",
                f"{outputs.name} 是图片文件名；请指定文件夹，图片会在其中按日期和编号命名",
            ),
        )
    return replace(settle({}, os.environ).config, **given)
