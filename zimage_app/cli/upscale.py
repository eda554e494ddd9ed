"""``upscale``: enlarges any picture and partly redraws it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zimage_app.cli.assignments import add_set_flag, assign
from zimage_app.cli.folders import add_alone_flag, config_of
from zimage_app.cli.generate import make_pictures
from zimage_app.cli.imports import with_local_names
from zimage_app.cli.request_flags import (
    ResolvedCommand,
    add_location_flags,
    choose_model,
    keep_input,
    parsed_seed,
    planner,
)
from zimage_app.cli.terminal import bad_input, notify
from zimage_app.domain.errors import ImportedFileError, LoraError, ModelError
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.knob import parse_as
from zimage_app.domain.upscaling import Upscaling, resized_by, upscaled
from zimage_app.service.generation.start_pictures import inputs_of
from zimage_app.service.imports import Imported, read_file
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.setup.config import StudioConfig


def add_upscale_command(commands: Any) -> None:
    """Add ``upscale`` to the program's commands."""
    parser = commands.add_parser(
        "upscale",
        help="make a picture larger",
        description="Make a picture larger: enlarge it, then have one stage redraw it a little at the new size."
        " Prompt, seed, model and LoRAs are the picture's own where it has them inside.",
    )
    parser.set_defaults(run=upscale_picture)
    parser.add_argument("picture", metavar="PICTURE", type=Path, help="PNG, JPEG or WebP")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what it shows (default: as the picture says)")
    parser.add_argument("--factor", type=float, help="how many times as wide and high, above 1 (default: 2)")
    parser.add_argument(
        "--upscaler", metavar="FILE", help="a model of the ESRGAN kind in models/upscalers/ (default: Lanczos)"
    )
    parser.add_argument("--denoise", type=float, help="how much is redrawn, up to 1 (default: 0.3)")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps of that (default: as suits the model, at least 8)"
    )
    parser.add_argument("--negative", help="what to keep out")
    parser.add_argument("--seed", help="a whole number (default: the picture's own)")
    parser.add_argument("--model", help="model by name, or a folder (default: the picture's own)")
    add_set_flag(parser, "any other setting by its path, as in stages.0.cfg=1.5; may be repeated")
    add_location_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the path")
    add_alone_flag(parser)


def upscale_picture(options: argparse.Namespace) -> int:
    """``upscale``: make and save the enlarged picture, and print its path."""
    with bad_input(ModelError, LoraError):
        asked = _resolve(options)
    notify(resized_by(asked.plan.request))
    return make_pictures(asked, options)


def _resolve(options: argparse.Namespace) -> ResolvedCommand:
    """Resolve the flags to a model and a plan; raises StudioError."""
    config = config_of(options)
    loras, inputs = LoraLibrary(*config.lora_folders), inputs_of(config)
    kept = keep_input("PICTURE", options.picture, inputs)
    found = _settings_inside(options.picture, config, loras)
    source = choose_model(config, options.model or (found.model if found else None), None)
    names = ("factor", "upscaler", "denoise", "steps", "prompt", "negative")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.seed is not None:
        given["seed"] = parsed_seed(options.seed)
    size = (kept.width, kept.height)
    request = upscaled(_shown(found), kept.sha256, size, source.card, parse_as(Upscaling, given))
    request = _assigned(request, options.settings)
    inputs.check(request.start)
    plan = planner(config, source, loras)(request)
    return ResolvedCommand(config, loras, inputs, source, None, plan, (plan,))


def _settings_inside(picture: Path, config: StudioConfig, loras: LoraLibrary) -> Imported | None:
    try:
        return with_local_names(read_file(picture), config, loras)
    except ImportedFileError:  # a picture without settings, such as a photo
        return None


def _shown(found: Imported | None) -> GenerationRequest | None:
    """The request inside a picture; None where it has no prompt."""
    return found.request() if found and found.settings.get("prompt") else None


def _assigned(request: GenerationRequest, assignments: list[str]) -> GenerationRequest:
    data = request.model_dump(mode="json")
    for assignment in assignments:
        assign(data, assignment)
    return parse_request(data)
