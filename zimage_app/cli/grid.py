"""``grid``: one picture with one to three settings varied, laid out on labelled sheets; it can be resumed."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from zimage_app.cli.batch import ADVICE, make_items, say_replaced, show_items
from zimage_app.cli.folders import add_alone_flag, config_of
from zimage_app.cli.presets import preset_of
from zimage_app.cli.request_flags import add_setting_flags, choose_model, planner, settings_data
from zimage_app.cli.terminal import bad_input, language, notify
from zimage_app.domain.errors import LoraError, ModelError
from zimage_app.domain.negatives import with_nag
from zimage_app.domain.plan import GenerationPlan, draw_seed
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.run_times import RunTimes
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.many.batch.item_files import picture_path, unfinished_items
from zimage_app.service.many.batch.items import BatchItem
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.many.grids.axes import Axis, parse_axis, sheet_labels, with_drawn_seeds
from zimage_app.service.many.grids.planning import GridOptions, Place, cost_of, grid_items
from zimage_app.service.setup.config import StudioConfig

_FOLDER = "grids"
"""Folder below outputs/."""


def add_grid_command(commands: Any) -> None:
    """Add ``grid`` to the program's commands."""
    parser = commands.add_parser(
        "grid",
        help="vary one to three settings, and lay the pictures out on a sheet",
        description="Vary settings: NAME=VALUES with values between commas, numbers FROM..TO/STEP or a JSON list. NAME"
        " is any setting by its path, lora, preset, size, or prompt~WORD, whose place the values take.",
    )
    parser.set_defaults(run=make_grid)
    parser.add_argument("prompt", metavar="PROMPT", help="what the pictures show")
    parser.add_argument("--x", required=True, metavar="AXIS", help="columns, as in stages.2.denoise=0.4..0.6/0.1")
    parser.add_argument("--y", metavar="AXIS", help="rows, as in stages.2.sampler=euler,dpmpp_sde")
    parser.add_argument("--z", metavar="AXIS", help="sheets, as in 'prompt~cat=cat,dog'")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where cells and sheets go")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made and what it costs")
    add_alone_flag(parser)
    add_setting_flags(parser)


def make_grid(options: argparse.Namespace) -> int:
    """``grid``: prints the paths of the cells, then of the sheets; same exit status as ``batch``."""
    config = config_of(options)
    asked = [parse_axis(text, f"--{name}") for name in "xyz" if (text := getattr(options, name))]
    axes = with_drawn_seeds(asked, draw_seed)
    with bad_input(ModelError, LoraError):
        preset = preset_of(options)
        source = choose_model(config, options.model, preset)
        settings = settings_data(options, source.card, preset)
        manifest = Manifest.read(options.to or _usual_folder(options, config, source, settings), ADVICE)
        if not isinstance(settings.get("seed"), int):
            settings["seed"] = draw_seed() if manifest.seed is None else manifest.seed
        places, items = _items(options, config, axes, source, settings)
    left = unfinished_items(items, manifest)
    _say_cost(items, left, config, source)
    say_replaced(left, manifest)
    if options.dry_run:
        show_items(left)
        return 0
    if manifest.seed is None:
        manifest.add("begun", seed=items[0].plan.request.seed, model=source.card.name)
    status = make_items(left, options, source, config, manifest) if left else 0
    if status == 0:
        _lay_out(axes, places, items, manifest)
    return status


def _usual_folder(
    options: argparse.Namespace, config: StudioConfig, source: ModelSource, settings: dict[str, Any]
) -> Path:
    """The folder for these settings: the same settings give the same folder, so that an interrupted grid continues."""
    asked = [source.card.name, settings, options.nag, options.x, options.y, options.z]
    text = json.dumps(asked, sort_keys=True)
    return config.outputs / _FOLDER / hashlib.sha256(text.encode()).hexdigest()[:12]


def _items(
    options: argparse.Namespace,
    config: StudioConfig,
    axes: list[Axis],
    source: ModelSource,
    settings: dict[str, Any],
) -> tuple[list[Place], list[BatchItem]]:
    plan = planner(config, source, LoraLibrary(*config.lora_folders))

    def planned(request: GenerationRequest) -> GenerationPlan:
        return plan(with_nag(request) if options.nag else request)

    return grid_items(axes, GridOptions(settings, planned, PresetLibrary(*config.preset_folders), source.card.name))


def _say_cost(items: list[BatchItem], left: list[BatchItem], config: StudioConfig, source: ModelSource) -> None:
    """Print the number of cells and evaluations, the evaluations that stage memory saves, and the estimated time."""
    timed = RunTimes(config.outputs).of(source.card.name)
    words = cost_of([item.plan for item in left], timed, memory=config.stage_memory > 0).words
    done = len(items) - len(left)
    notify(
        Text(
            f"{len(items)} cells, {done} done already; {words.en}.",
            f"共 {len(items)} 格，已完成 {done} 格；{words.zh}。",
        )
    )


def _lay_out(axes: list[Axis], places: list[Place], items: list[BatchItem], manifest: Manifest) -> None:
    from zimage_app.service.many.grids.sheet import write_sheets

    pictures = {place: picture_path(item, manifest) for place, item in zip(places, items, strict=True)}
    paths, note = write_sheets(manifest.folder, pictures, sheet_labels(axes, language()))
    if note:
        notify(note)
    sys.stdout.write("".join(f"{path}\n" for path in paths))
