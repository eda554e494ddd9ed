"""``generate --from FILE``: uses the settings in a file; for pictures of this app, it also compares the pixels."""

from __future__ import annotations

import argparse
from pathlib import Path

from zimage_app.cli.terminal import notify
from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.domain.events import Picture
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.service.imports import Imported, read_file
from zimage_app.service.pictures.history.pixels import compare_pixels, read_pixels
from zimage_app.service.pictures.picture_files import is_picture

_BEGINNING = 12
"""Bytes by which a picture file is told from settings as text."""


def read_original(options: argparse.Namespace) -> Imported:
    """The settings inside the file that ``--from`` names.

    Raises:
        RequestError: the file does not exist or holds no readable settings, or other flags change settings. A start
            picture is allowed if the file refers to one but does not contain it.
    """
    texts = (options.prompt, options.negative, options.negatives, options.trigger)
    changes = (
        *texts,
        options.loras_used,
        options.settings,
        options.preset,
        options.seed,
        options.single_stage,
        options.size,
        options.count != 1,
        options.variation_seed,
        options.variation_strength,
    )
    if any(changes):
        raise _as_it_was()
    if not options.picture.is_file():
        raise RequestError("--from", Text(f"there is no file {options.picture}", f"没有文件 {options.picture}"))
    try:
        found = read_file(options.picture)
    except ImportedFileError as error:
        raise RequestError("--from", error.text) from error
    if options.start is not None and found.start is None:
        raise _as_it_was()
    return found


def _as_it_was() -> RequestError:
    return RequestError(
        "--from",
        Text(
            "makes a picture again as it was; leave out the prompt and the flags that change settings",
            "会原样重新生成图片；请不要同时给出提示词或修改参数的选项",
        ),
    )


def compare(path: Path, again: Picture) -> bool | None:
    """Print how the remade picture differs from the one in ``path``; returns whether all pixels are the same.

    None where ``path`` holds settings as text, and no picture.
    """
    with open_regular(path) as file:
        if not is_picture(file.read(_BEGINNING)):
            return None
    same, sentence = compare_pixels(read_pixels(path), again)
    notify(sentence)
    return same
