"""The folders that a command uses, from its flags, the environment and studio.yaml, as for the app."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from zimage_app.cli.terminal import bad_input
from zimage_app.domain.errors import ModelError, RequestError, StorageError
from zimage_app.domain.text import Text
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.settings import Report, flag_of, load_settings

_FLAGS = ("outputs", "loras", "models_dir", "comfyui", "offline", "device")
"""The app's settings that commands have flags for."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def add_model_folder_flags(parser: argparse.ArgumentParser, default: object = None) -> None:
    """Add ``--models-dir`` and ``--comfyui``, the folders of models."""
    parser.add_argument("--models-dir", type=Path, default=default, metavar="DIR", help="default: models/")
    parser.add_argument(
        "--comfyui", type=Path, default=default, metavar="DIR", help="a ComfyUI whose models are offered too"
    )


def add_outputs_flag(parser: argparse.ArgumentParser, default: object = None) -> None:
    """Add ``--outputs``, the folder of pictures, for commands that read it."""
    parser.add_argument(
        "--outputs", type=Path, default=default, metavar="DIR", help="the app's folder of pictures (default: outputs/)"
    )


def add_alone_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--alone``: make the picture in this process, even where the app is running."""
    parser.add_argument(
        "--alone", action="store_true", help="in a process of its own, also where the app is running (it needs memory)"
    )


def config_of(options: argparse.Namespace | None = None, report: Report | None = None) -> StudioConfig:
    """The app's configuration, changed by a command's flags; ``report`` is ``load_settings``'s.

    Raises:
        RequestError, BadInputError: a flag or a setting in the environment or in studio.yaml is invalid, ``--out``
            names a picture, or ``--device`` several devices or one that is not on this machine.
    """
    given = {name: value for name in _FLAGS if (value := _value(options, name)) is not None}
    with bad_input(StorageError):  # in studio.yaml
        settings = load_settings(given, os.environ, report=report)
    outputs, config = settings.outputs, settings.config
    if "outputs" in given and outputs.suffix.lower() in _PICTURES and not outputs.is_dir():
        raise RequestError(
            "--out",
            Text(
                f"{outputs.name} is a picture's name; give a folder, in which pictures are named by date and number",
                f"{outputs.name} 是图片文件名；请指定文件夹，图片会在其中按日期和编号命名",
            ),
        )
    if "device" in given and config.devices:
        raise RequestError(
            flag_of("device"),
            Text(
                f"{settings.device}: a command computes on one device; name one, as in cuda:1",
                f"{settings.device}：一条命令只在一个设备上计算；请指定一个，如 cuda:1",
            ),
        )
    if "device" in given and config.device not in (None, "cpu"):
        from zimage_app.models.device import named_device  # imports torch, which takes seconds

        with bad_input(ModelError):
            named_device(config.device)
    return config


def _value(options: argparse.Namespace | None, name: str) -> Any:
    """A flag's value; None where it is not given."""
    value = getattr(options, name, None)
    if value is False:  # a switch that was not given
        return None
    # A configured path must not be ".", which an empty one is parsed as; a command's folder may be the current one.
    return Path.cwd() if value == Path() else value
