"""``compare A B`` for two settings: makes a picture of each, with the same seed where they give none."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from zimage_app.cli.folders import config_of
from zimage_app.cli.generate import maker_of
from zimage_app.cli.imports import as_here
from zimage_app.cli.request_flags import ResolvedCommand, meant_model, settings_data
from zimage_app.cli.terminal import tell
from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.domain.negatives import with_nag
from zimage_app.domain.plan import GenerationPlan, draw_seed, make_plan
from zimage_app.domain.preset import Preset, request_settings
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.imports import read_file
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.setup.config import StudioConfig


def pictures_of(options: argparse.Namespace) -> tuple[Path, Path]:
    """Make a picture with each of the two settings, keeping stage pictures; returns their paths.

    Raises:
        StudioError: a side's settings can't be read or used, or a picture failed.
    """
    if options.preset:
        raise RequestError("--preset", Text("name presets as A or B", "请将预设作为 A 或 B 给出"))
    seed = draw_seed()
    first, second = (_settled(side, options, seed) for side in (options.first, options.second))
    make = maker_of(first, options)
    path = _made(first, make)
    same = first.source.card.name == second.source.card.name
    return path, _made(second, make if same else maker_of(second, options))


def _made(side: ResolvedCommand, make: Callable[[GenerationPlan], SavedPicture]) -> Path:
    for text in side.plan.warnings:
        tell(text)
    return make(side.plan).path


def _settled(side: Path, options: argparse.Namespace, seed: int) -> ResolvedCommand:
    config = config_of(options)
    loras, inputs = LoraLibrary(*config.lora_folders), PictureInputs(config.outputs)
    preset = _settings(side, config, loras)
    source = meant_model(config, options.model, preset)
    data = settings_data(options, source.card, preset) | {"keep_stages": True}
    if data.get("seed", "random") == "random":
        data["seed"] = seed
    if not data.get("prompt"):
        raise RequestError("--prompt", Text(f"is missing, and {side} has none", f"缺少提示词，{side} 中也没有"))
    request = parse_request(data)
    request = with_nag(request) if options.nag else request
    inputs.check(request.start)
    wildcard = WildcardLibrary(*config.wildcard_folders).lines
    plan = make_plan(request, source.card, lora_name=loras.name_of, wildcard=wildcard)
    return ResolvedCommand(config, loras, inputs, source, None, plan, (plan,))


def _settings(side: Path, config: StudioConfig, loras: LoraLibrary) -> Preset:
    """The settings inside the file ``side``, or of the preset with that name."""
    if not side.is_file():
        return PresetLibrary(*config.preset_folders).load(str(side))
    try:
        found = as_here(read_file(side), config, loras)
    except ImportedFileError as error:
        raise RequestError(str(side), error.text) from error
    settings = found.settings
    if found.model:
        settings = request_settings(found.model, found.request(), whole=True)
    return Preset(side.name, Text(side.name, side.name), settings=settings)
