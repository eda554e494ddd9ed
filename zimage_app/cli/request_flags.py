"""The flags of a request on the command line, and the plan made from them.

Imports no torch, so that errors are reported at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zimage_app.cli.assignments import add_set_flag, assign
from zimage_app.cli.folders import add_model_folder_flags, config_of
from zimage_app.cli.imports import with_local_names
from zimage_app.cli.lora_flags import full_lora_name, lora_use
from zimage_app.cli.negatives import negative_text
from zimage_app.cli.presets import preset_model, preset_of
from zimage_app.cli.remake import read_original
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.domain.many import counted
from zimage_app.domain.negatives import with_nag
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.preset import Preset, applied
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.setting_paths import MAX_DIGITS
from zimage_app.domain.sizes import sized_data
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import PictureInputs, StoredPicture, inputs_of
from zimage_app.service.imports import Imported, NamedStartPicture
from zimage_app.service.library.default_model import default_model
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.setup.config import StudioConfig


@dataclass(frozen=True)
class ResolvedCommand:
    """Everything that the flags resolve to."""

    config: StudioConfig
    loras: LoraLibrary
    inputs: PictureInputs
    source: ModelSource
    found: Imported | None
    """The settings inside the file that ``--from`` names; None without the flag."""
    plan: GenerationPlan
    plans: tuple[GenerationPlan, ...]
    """``plan``, then the plans of the other pictures of ``--count``."""


def add_request_flags(parser: argparse.ArgumentParser, *, remakes: str = "") -> None:
    """Add all flags of a single picture: prompt, start picture, settings, model and folders.

    ``remakes`` is the end of the help of ``--from``: what the command does with this app's pictures.
    """
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what the picture shows, in Chinese or English")
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FILE",
        dest="picture",
        help="instead of a prompt: the settings inside a picture or workflow (see import)" + remakes,
    )
    parser.add_argument("--count", type=int, default=1, metavar="N", help="so many pictures; the seed counts up")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", dest="start", help="start from a picture, of which --at redraws a part"
    )
    parser.add_argument(
        "--at", type=int, metavar="STAGE", help="with --picture: the stage that redraws it, counted from 1 (default: 1)"
    )
    parser.add_argument(
        "--fit",
        choices=("crop", "stretch"),
        help="with --picture: how it is brought to the stage's size (default: crop)",
    )
    _add_mask_flags(parser)
    add_setting_flags(parser)


def add_setting_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that single pictures and batches share: settings, model and folders."""
    parser.add_argument(
        "--model", help="model by name, or a folder (default: Z-Image-Turbo where it is here, else demo)"
    )
    parser.add_argument("--preset", metavar="NAME", help="settings to begin with; flags count for more (see presets)")
    _add_noise_and_size_flags(parser)
    _add_word_flags(parser)
    add_set_flag(parser, "any setting by its path, as in stages.1.denoise=0.6; stages count from 0; may be repeated")
    parser.add_argument("--single-stage", action="store_true", help="straight to the final size, without the stages")
    add_location_flags(parser)


def add_location_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the folders of pictures, LoRAs and models, and for the device."""
    parser.add_argument(
        "--out",
        "--outputs",
        dest="outputs",
        type=Path,
        metavar="DIR",
        help="where pictures are kept (default: outputs/)",
    )
    parser.add_argument("--loras", type=Path, metavar="DIR", help="where LoRAs lie (default: loras/)")
    parser.add_argument("--device", metavar="DEVICE", help="where to compute, as in cpu or cuda:1 (default: the best)")
    add_model_folder_flags(parser)


def _add_noise_and_size_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", help="a whole number; the same number gives the same picture (default: random)")
    parser.add_argument("--variation-seed", metavar="SEED", help="turn the first noise towards this seed's")
    parser.add_argument(
        "--variation-strength", type=float, metavar="STRENGTH", help="how far, 0 to 1 (with --variation-seed: 0.2)"
    )
    parser.add_argument(
        "--size", metavar="WxH", help="of the finished picture, as 672x864 or 3:4; all stages follow in proportion"
    )


def _add_word_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--negative", default="", help="what to keep out (see --nag)")
    parser.add_argument(
        "--negative-preset",
        action="append",
        default=[],
        metavar="ENTRY",
        dest="negatives",
        help="entry of the library of negative prompts, in Chinese or English, joined to --negative; may be repeated",
    )
    parser.add_argument(
        "--nag",
        action="store_true",
        help="let the negative prompt act in the stages where it has no effect because cfg is 1, at a few percent more"
        " time; its numbers as in --set stages.1.nag.scale=5",
    )
    parser.add_argument(
        "--trigger",
        "--trigger-word",
        action="append",
        default=[],
        metavar="WORD",
        help="trigger word; may be repeated",
    )
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="NAME=STRENGTH",
        dest="loras_used",
        help="LoRA under loras/, as in ink=0.8, or ink=0.8@1,2 for stages 1 and 2 only; may be repeated",
    )


def _add_mask_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="with --picture: a picture in its proportions, white where it is redrawn, black where it is kept",
    )
    parser.add_argument(
        "--extend",
        metavar="L,T,R,B",
        help="with --picture: pixels added on its left, top, right and bottom, and drawn anew",
    )
    parser.add_argument(
        "--feather", type=int, metavar="PIXELS", help="with --mask or --extend: how softly both parts meet (default: 0)"
    )
    parser.add_argument(
        "--differential",
        type=float,
        metavar="STRENGTH",
        help="with --mask: differential diffusion, 0 to 1: grey says from when on a place is redrawn",
    )
    parser.add_argument(
        "--no-paste",
        dest="paste",
        action="store_false",
        default=None,
        help="with --mask or --extend: leave the kept part as the VAE decodes it, instead of pixel for pixel",
    )


def resolve_command(options: argparse.Namespace) -> ResolvedCommand:
    """Resolve the flags to a model and plans.

    Raises:
        StudioError: a flag or a file is invalid; names it, and the reason.
    """
    config = config_of(options)
    loras = LoraLibrary(*config.lora_folders)
    found = with_local_names(read_original(options), config, loras) if options.picture else None
    preset = preset_of(options)
    source = choose_model(config, options.model or (found.model if found else None), preset)
    request = found.request() if found else build_request(options, source.card, preset)
    inputs = inputs_of(config)
    request = _started(request, options, inputs, found.start if found else None)
    planned = planner(config, source, loras)
    plan = planned(request)
    try:
        more = counted(plan.request, options.count)[1:]
    except RequestError as error:
        raise error.at("--count") from error
    return ResolvedCommand(config, loras, inputs, source, found, plan, (plan, *map(planned, more)))


def planner(
    config: StudioConfig, source: ModelSource, loras: LoraLibrary
) -> Callable[[GenerationRequest], GenerationPlan]:
    """A function that plans requests for a model, with this machine's LoRAs and wildcards."""
    wildcard = WildcardLibrary(*config.wildcard_folders).lines
    return partial(make_plan, card=source.card, lora_name=loras.name_of, wildcard=wildcard)


def choose_model(config: StudioConfig, named: str | None, preset: Preset | None) -> ModelSource:
    """The named model, else the preset's, else the default; raises ModelError where it is not on this machine."""
    source = find_model(named or default_model(config), config.model_folders)
    wanted = None if named else preset_model(preset, source.card)
    return find_model(wanted, config.model_folders) if wanted else source


_VARIATION = 0.2
"""Variation strength where only the variation seed is given."""
_START_FLAGS = {"at": "stage"} | {name: name for name in ("fit", "mask", "extend", "feather", "differential", "paste")}
"""Flags that go with ``--picture``, and their field names in a request."""


def _started(
    request: GenerationRequest, options: argparse.Namespace, inputs: PictureInputs, asked: NamedStartPicture | None
) -> GenerationRequest:
    """The request with the start picture of ``--picture``; checks that the start picture's file exists.

    ``asked`` are the start settings in the file of ``--from``; flags override them.
    """
    given = {flag: getattr(options, flag) for flag in _START_FLAGS if getattr(options, flag) is not None}
    if options.start is not None:
        start = {_START_FLAGS[flag]: value for flag, value in given.items()}
        if "mask" in start:
            start["mask"] = keep_input("--mask", options.mask, inputs).sha256
        if "extend" in start:
            start["extend"] = _margins(options.extend)
        picture = keep_input("--picture", options.start, inputs).sha256
        start = {**(asked or NamedStartPicture()).start_settings(picture), **start}
        request = parse_request(request.model_dump(mode="json") | {"start": start})
    elif given:
        flags = ", ".join("--no-paste" if flag == "paste" else f"--{flag}" for flag in given)
        raise RequestError(flags, Text("give --picture FILE as well", "需与 --picture FILE 一起使用"))
    inputs.check(request.start)
    return request


def keep_input(flag: str, path: Path, inputs: PictureInputs) -> StoredPicture:
    """Store the picture that a flag names as an input; raises RequestError where it can't be read as a picture."""
    try:
        return inputs.save_file(path)
    except ImportedFileError as error:
        raise RequestError(flag, error.text) from error


def _margins(text: str) -> list[int | str]:
    """The four numbers of ``--extend``; raises RequestError for another form."""
    parts = text.split(",")
    if len(parts) != 4 or not all(map(str.isdecimal, parts)):
        raise RequestError(
            "--extend",
            Text(
                f"{text}: must be four whole numbers of pixels, L,T,R,B, as in 0,0,0,256",
                f"{text}：必须是四个整数像素值 左,上,右,下，如 0,0,0,256",
            ),
        )
    return [_whole_number(part) for part in parts]


def _whole_number(text: str) -> int | str:
    """Parse a whole number; other text is returned for the request's validation to refuse."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else text


def build_request(options: argparse.Namespace, card: ModelCard, preset: Preset | None = None) -> GenerationRequest:
    """A request from preset and flags, which override the preset; raises RequestError for invalid values."""
    data = settings_data(options, card, preset)
    if data.get("prompt") is None:
        raise RequestError(
            "PROMPT",
            Text("is missing; say what to draw, or give --from FILE", "缺少提示词；请写出画面，或用 --from 指定文件"),
        )
    request = parse_request(data)
    return with_nag(request) if options.nag else request


def settings_data(options: argparse.Namespace, card: ModelCard, preset: Preset | None = None) -> dict[str, Any]:
    """The settings of preset and flags as a request's plain data; raises RequestError for an invalid flag."""
    settings = preset.settings if preset else {}
    data = applied(settings, {"stages": [stage.model_dump(mode="json") for stage in card.stages]})
    if "start" in settings:  # from a file whose picture is made again; presets have no prompt
        data["start"] = settings["start"]
    size = options.size
    if options.single_stage:
        data["stages"] = [stage.model_dump(mode="json") for stage in card.single_stage]
        size = size or settings.get("size")
    if getattr(options, "prompt", None) is not None:  # a batch takes its prompts from a file
        data["prompt"] = options.prompt
    data["negative"] = negative_text(options.negative or data.get("negative", ""), options.negatives)
    data["triggers"] = [*data.get("triggers", []), *options.trigger]
    strength = settings.get("lora_strength", 1.0)
    typed = [lora_use(text, strength) for text in options.loras_used]
    library = LoraLibrary(*config_of(options).lora_folders)
    data["loras"] = [*data.get("loras", []), *(use | {"name": full_lora_name(use["name"], library)} for use in typed)]
    if options.seed is not None:
        data["seed"] = parsed_seed(options.seed)
    if size is not None:
        try:
            data["stages"] = sized_data(data["stages"], size)
        except RequestError as error:
            raise error.at("--size") from error
    data |= _variation(options)
    for assignment in options.settings:
        assign(data, assignment)
    return data


def _variation(options: argparse.Namespace) -> dict[str, Any]:
    strength = options.variation_strength
    if options.variation_seed is None:
        return {} if strength is None else {"variation_strength": strength}
    return {
        "variation_seed": parsed_seed(options.variation_seed),
        "variation_strength": _VARIATION if strength is None else strength,
    }


def parsed_seed(text: str) -> int | str:
    """Parse ``--seed``; text that is not a whole number is left for the request's validation to refuse."""
    return "random" if text in ("random", "-1", "") else _whole_number(text)
