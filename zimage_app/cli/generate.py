"""``generate``: makes pictures from flags, with a progress bar, and prints the saved paths."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from zimage_app.cli.folders import add_alone_flag
from zimage_app.cli.hand_over import generate_in_app
from zimage_app.cli.imports import report
from zimage_app.cli.lora_flags import lora_warnings
from zimage_app.cli.remake import compare
from zimage_app.cli.request_flags import ResolvedCommand, add_request_flags, resolve_command
from zimage_app.cli.saving import save
from zimage_app.cli.terminal import bad_input, language, notify
from zimage_app.domain.errors import LoraError, ModelError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.service.jobs.folder_lock import running_app
from zimage_app.service.pictures.history.pixels import read_pixels
from zimage_app.service.pictures.views import SavedPicture


def add_generate_command(commands: Any) -> None:
    """Add ``generate`` to the program's commands."""
    parser = commands.add_parser("generate", help="make one picture", description="Make one picture from a prompt.")
    add_generate_flags(parser)


def add_generate_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags of ``generate``."""
    parser.set_defaults(run=make_picture)
    add_request_flags(parser, remakes="; a picture of this app's own is made again, and the pixels are compared")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the path")
    add_alone_flag(parser)


def make_picture(options: argparse.Namespace) -> int:
    """``generate``: make and save pictures, and print their paths."""
    with bad_input(ModelError, LoraError):
        asked = resolve_command(options)
    if asked.found and not asked.found.exact:
        sys.stderr.write("".join(f"{line}\n" for line in report(asked.found)))
    return make_pictures(asked, options)


def make_pictures(asked: ResolvedCommand, options: argparse.Namespace) -> int:
    """Make the requested pictures, here or in the running app, save them, and print their paths."""
    exact = asked.found is not None and asked.found.exact
    for text in (*asked.plan.warnings, *(() if exact else lora_warnings(asked.plan.request, asked.loras))):
        notify(text)
    make = maker_of(asked, options)
    for each in asked.plans:
        _say(make(each), options, exact=exact)
    return 0


def maker_of(asked: ResolvedCommand, options: argparse.Namespace) -> Callable[[GenerationPlan], SavedPicture]:
    """A function that makes and saves a picture: in the running app if there is one, else in this process."""
    app = None if options.alone else running_app(asked.config.state)
    return partial(generate_in_app, app, asked, options) if app else _local_maker(asked)


def _say(saved: SavedPicture, options: argparse.Namespace, *, exact: bool) -> None:
    """Print the picture's path, or with ``--json`` its whole record."""
    facts: dict[str, Any] = {"path": str(saved.path)}
    if exact and (same := compare(options.picture, read_pixels(saved.path))) is not None:
        facts["identical"] = same
    if options.json:
        sys.stdout.write(json.dumps({**facts, **json.loads(saved.record.to_json())}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{saved.path}\n")
    sys.stdout.flush()


def _local_maker(asked: ResolvedCommand) -> Callable[[GenerationPlan], SavedPicture]:
    """Load the model, and return a function that makes and saves a picture with it in this process."""
    from zimage_app.cli.progress import watch  # torch is imported only here, so that the checks above are quick
    from zimage_app.service.generation.generator import load_options, load_source
    from zimage_app.service.pictures.gallery import Gallery
    from zimage_app.service.pictures.stage_pictures import keep_stages

    config = asked.config
    generator = load_source(asked.source, asked.loras, load_options(config), inputs=asked.inputs)
    for text in generator.about:
        notify(text)
    gallery = Gallery(config.outputs)

    def make(plan: GenerationPlan) -> SavedPicture:
        finished = watch(keep_stages(generator.stream(plan), plan, gallery), plan, language())
        return save(gallery, finished.picture, finished.record)

    return make
