"""``compare A B`` for two settings: makes a picture of each, with the same seed where they give none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from zimage_app.cli.folders import config_of
from zimage_app.cli.generate import maker_of
from zimage_app.cli.imports import report, with_local_names
from zimage_app.cli.request_flags import ResolvedCommand, choose_model, planner, settings_data
from zimage_app.cli.terminal import notify
from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.domain.negatives import with_nag
from zimage_app.domain.plan import GenerationPlan, draw_seed
from zimage_app.domain.preset import Preset, request_settings
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.service.generation.start_pictures import inputs_of
from zimage_app.service.imports import read_file
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.presets import PresetLibrary
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
    first, second = (_resolve(side, options, seed) for side in (options.first, options.second))
    make = maker_of(first, options)
    path = _made(first, make)
    same = first.source.card.name == second.source.card.name
    return path, _made(second, make if same else maker_of(second, options))


def _made(side: ResolvedCommand, make: Callable[[GenerationPlan], SavedPicture]) -> Path:
    for text in side.plan.warnings:
        notify(text)
    return make(side.plan).path


def _resolve(side: Path, options: argparse.Namespace, seed: int) -> ResolvedCommand:
    config = config_of(options)
    loras, inputs = LoraLibrary(*config.lora_folders), inputs_of(config)
    preset = _settings(side, config, loras)
    source = choose_model(config, options.model, preset)
    data = settings_data(options, source.card, preset) | {"keep_stages": True}
    if data.get("seed", "random") == "random":
        data["seed"] = seed
    if not data.get("prompt"):
        raise RequestError("--prompt", Text(f"is missing, and {side} has none", f"缺少提示词，{side} 中也没有"))
    request = parse_request(data)
    request = with_nag(request) if options.nag else request
    inputs.check(request.start)
    plan = planner(config, source, loras)(request)
    return ResolvedCommand(config, loras, inputs, source, None, plan, (plan,))


def _settings(side: Path, config: StudioConfig, loras: LoraLibrary) -> Preset:
    """The settings inside the file ``side``, or of the preset with that name."""
    if not side.is_file():
        return PresetLibrary(*config.preset_folders).load(str(side))
    try:
        found = with_local_names(read_file(side), config, loras)
    except ImportedFileError as error:
        raise RequestError(str(side), error.text) from error
    if found.start is not None:
        raise RequestError(
            str(side),
            Text(
                "starts from a picture that the file only names; make that side with generate --from and --picture,"
                " then compare the pictures",
                "其起始图片只有文件名；请先用 generate --from 与 --picture 生成该侧，再比较两张图片",
            ),
        )
    if not found.exact:
        sys.stderr.write("".join(f"{line}\n" for line in report(found)))
    settings = found.settings
    if found.model:
        start = {"start": settings["start"]} if "start" in settings else {}
        settings = request_settings(found.model, found.request(), whole=True) | start
    return Preset(side.name, Text(side.name, side.name), settings=settings)
