"""The command line: flags in, one request out, a progress bar, the saved path. Decides nothing about pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from zimage_app.cli.lora_flags import lora_use, remarks
from zimage_app.cli.loras import add_loras_command
from zimage_app.cli.models import add_models_command, add_place_flags, place_config
from zimage_app.cli.negatives import add_negatives_command, negative_text
from zimage_app.cli.remake import compare, original
from zimage_app.cli.terminal import BAD_INPUT, complain, language, tell
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import LoraError, ModelError, RequestError, StudioError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__

INTERRUPTED = 130
_MOST_DIGITS = 100
"""Python refuses to read a number of thousands of digits."""


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake costs one sentence, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Every flag of every command."""
    parser = _Parser(prog="python -m zimage_app", description="Three-stage progressive pictures with Z-Image.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    generate = commands.add_parser("generate", help="make one picture", description="Make one picture from a prompt.")
    generate.set_defaults(run=make_picture)
    generate.add_argument("prompt", metavar="PROMPT", nargs="?", help="what the picture shows, in Chinese or English")
    generate.add_argument(
        "--from",
        type=Path,
        metavar="PICTURE",
        dest="picture",
        help="instead of a prompt: make this picture again from the settings inside it, and compare the pixels",
    )
    generate.add_argument(
        "--model", help="model by name, or a folder (default: Z-Image-Turbo where it is here, else demo)"
    )
    generate.add_argument("--seed", default="random", help="a whole number; the same number gives the same picture")
    generate.add_argument("--negative", default="", help="what to keep out (has an effect where cfg is not 1)")
    generate.add_argument(
        "--negative-preset",
        action="append",
        default=[],
        metavar="ENTRY",
        dest="negatives",
        help="entry of the library of negative prompts, in Chinese or English, joined to --negative; may be repeated",
    )
    generate.add_argument(
        "--trigger", action="append", default=[], metavar="WORD", help="trigger word; may be repeated"
    )
    generate.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="NAME=STRENGTH",
        dest="loras_used",
        help="LoRA under loras/, as in ink=0.8, or ink=0.8@1,2 for stages 1 and 2 only; may be repeated",
    )
    generate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="any setting by its path, as in stages.1.denoise=0.6; stages count from 0; may be repeated",
    )
    generate.add_argument("--single-stage", action="store_true", help="straight to the final size, without the stages")
    generate.add_argument(
        "--out", "--outputs", type=Path, metavar="DIR", help="where pictures are kept (default: outputs/)"
    )
    generate.add_argument("--loras", type=Path, metavar="DIR", help="where LoRAs lie (default: loras/)")
    generate.add_argument("--json", action="store_true", help="print one JSON object instead of the path")
    add_place_flags(generate)
    add_loras_command(commands)
    add_models_command(commands)
    add_negatives_command(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except RequestError as error:
        return complain(error, BAD_INPUT)
    except StudioError as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return INTERRUPTED


def make_picture(options: argparse.Namespace) -> int:
    """``generate``: make one picture, save it, say where."""
    from zimage_app.models.spec import find_model
    from zimage_app.service.config import StudioConfig
    from zimage_app.service.defaults import default_model
    from zimage_app.service.loras import LoraLibrary

    given = {"outputs": options.out, "loras": options.loras, **place_config(options)}
    config = StudioConfig(**{name: folder for name, folder in given.items() if folder})
    record = original(options) if options.picture else None
    loras = LoraLibrary(config.loras)
    try:
        source = find_model(options.model or (record.model if record else default_model(config)), config.shelves)
        request = record.request if record else build_request(options, source.card)
        plan = make_plan(request, source.card, lora_name=loras.name_of)
    except (ModelError, LoraError) as error:
        return complain(error, BAD_INPUT)
    for text in (*plan.warnings, *(() if record else remarks(plan.request, loras))):
        tell(text)

    from zimage_app.cli.progress import watch  # from here on torch is needed: checks above answer at once
    from zimage_app.service.gallery import Gallery
    from zimage_app.service.generation import load_source

    generator = load_source(source, loras)
    finished = watch(generator.stream(plan), plan, language())
    saved = Gallery(config.outputs).save(finished.picture, finished.record)
    facts: dict[str, Any] = {"path": str(saved.path)}
    if options.picture:
        facts["identical"] = compare(options.picture, finished.picture)
    if options.json:
        sys.stdout.write(json.dumps({**facts, **json.loads(saved.record.to_json())}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{saved.path}\n")
    return 0


def build_request(options: argparse.Namespace, card: ModelCard) -> GenerationRequest:
    """The flags as a request; raises RequestError for what is out of bounds."""
    if options.prompt is None:
        raise RequestError(
            "PROMPT",
            Text(
                "is missing; say what to draw, or give --from PICTURE", "缺少提示词；请写出画面，或用 --from 指定图片"
            ),
        )
    stages = card.single_stage if options.single_stage else card.stages
    data: dict[str, Any] = {
        "prompt": options.prompt,
        "negative": negative_text(options.negative, options.negatives),
        "triggers": options.trigger,
        "loras": [lora_use(text) for text in options.loras_used],
        "seed": _seed(options.seed),
        "stages": [stage.model_dump(mode="json") for stage in stages],
    }
    for assignment in options.settings:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise RequestError("--set", Text(f"{assignment}: write NAME=VALUE", f"{assignment}：请写成 NAME=VALUE"))
        _assign(data, path.strip(), _value(value.strip()))
    return parse_request(data)


def _seed(text: str) -> int | str:
    if text in ("random", "-1", ""):
        return "random"
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, null, lists), else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    """``stages.1.denoise`` = value. A name that isn't there is left for the request's own check to refuse."""
    *parents, last = path.split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        place = _step_into(place, part, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        _step_into(place, last, path)
        place[int(last)] = value
    else:
        place[last] = value


def _step_into(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        if part.isdecimal() and len(part) <= _MOST_DIGITS and int(part) < len(place):
            return place[int(part)]
        if not place:
            raise RequestError(
                path, Text("the list is empty; set the whole list, as JSON", "列表为空；请以 JSON 设置整个列表")
            )
        have = f"0…{len(place) - 1}"
        raise RequestError(path, Text(f"there is no entry {part}; there are {have}", f"没有第 {part} 项；可用 {have}"))
    child = place.get(part)
    if child is None and part == "easycache":
        child = place[part] = {}
    if not isinstance(child, Mapping | list):
        raise RequestError(path, Text("there is no such setting", "没有这个设置"))
    return child
