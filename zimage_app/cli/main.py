"""The command line: flags in, one request out, a progress bar, the saved path. Decides nothing about pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from zimage_app.cli.assignments import MOST_DIGITS, assign
from zimage_app.cli.doctor import add_doctor_command
from zimage_app.cli.imports import add_import_command, as_here, report
from zimage_app.cli.jobs import add_jobs_command
from zimage_app.cli.lora_flags import lora_use, remarks
from zimage_app.cli.loras import add_loras_command
from zimage_app.cli.models import add_models_command, add_place_flags, place_config
from zimage_app.cli.negatives import add_negatives_command, negative_text
from zimage_app.cli.presets import add_presets_command, preset_model, preset_of
from zimage_app.cli.remake import compare, original
from zimage_app.cli.status import add_status_command
from zimage_app.cli.terminal import BAD_INPUT, complain, language, tell
from zimage_app.cli.wildcards import add_wildcards_command
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import LoraError, ModelError, RequestError, StudioError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.preset import Preset, applied
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__

INTERRUPTED = 130


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
        metavar="FILE",
        dest="picture",
        help="instead of a prompt: the settings inside a picture or workflow (see import); of a picture of this app's"
        " own, make it again and compare the pixels",
    )
    generate.add_argument(
        "--model", help="model by name, or a folder (default: Z-Image-Turbo where it is here, else demo)"
    )
    generate.add_argument("--preset", metavar="NAME", help="settings to begin with; flags count for more (see presets)")
    generate.add_argument("--seed", help="a whole number; the same number gives the same picture (default: random)")
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
    add_doctor_command(commands)
    add_import_command(commands)
    add_jobs_command(commands)
    add_loras_command(commands)
    add_models_command(commands)
    add_negatives_command(commands)
    add_presets_command(commands)
    add_status_command(commands)
    add_wildcards_command(commands)
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
    from zimage_app.service.wildcards import WildcardLibrary

    given = {"outputs": options.out, "loras": options.loras, **place_config(options)}
    config = StudioConfig(**{name: folder for name, folder in given.items() if folder})
    loras = LoraLibrary(config.loras)
    found = as_here(original(options), config, loras) if options.picture else None
    preset = preset_of(options)
    try:
        named = options.model or (found.model if found else None)
        source = find_model(named or default_model(config), config.shelves)
        wanted = None if named else preset_model(preset, source.card)
        source = find_model(wanted, config.shelves) if wanted else source
        request = found.request() if found else build_request(options, source.card, preset)
        wildcard = WildcardLibrary(config.wildcards).lines
        plan = make_plan(request, source.card, lora_name=loras.name_of, wildcard=wildcard)
    except (ModelError, LoraError) as error:
        return complain(error, BAD_INPUT)
    exact = found is not None and found.exact
    if found and not exact:
        sys.stderr.write("".join(f"{line}\n" for line in report(found)))
    for text in (*plan.warnings, *(() if exact else remarks(plan.request, loras))):
        tell(text)

    from zimage_app.cli.progress import watch  # from here on torch is needed: checks above answer at once
    from zimage_app.service.gallery import Gallery
    from zimage_app.service.generation import load_source

    generator = load_source(source, loras)
    for text in generator.about:
        tell(text)
    finished = watch(generator.stream(plan), plan, language())
    saved = Gallery(config.outputs).save(finished.picture, finished.record)
    facts: dict[str, Any] = {"path": str(saved.path)}
    if exact:
        facts["identical"] = compare(options.picture, finished.picture)
    if options.json:
        sys.stdout.write(json.dumps({**facts, **json.loads(saved.record.to_json())}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{saved.path}\n")
    return 0


def build_request(options: argparse.Namespace, card: ModelCard, preset: Preset | None = None) -> GenerationRequest:
    """The preset and the flags, which count for more, as a request; raises RequestError for what is out of bounds."""
    settings = preset.settings if preset else {}
    data = applied(settings, {"stages": [stage.model_dump(mode="json") for stage in card.stages]})
    if options.single_stage:
        data["stages"] = [stage.model_dump(mode="json") for stage in card.single_stage]
    data["prompt"] = options.prompt if options.prompt is not None else data.get("prompt")
    if data["prompt"] is None:
        raise RequestError(
            "PROMPT",
            Text("is missing; say what to draw, or give --from FILE", "缺少提示词；请写出画面，或用 --from 指定文件"),
        )
    data["negative"] = negative_text(options.negative or data.get("negative", ""), options.negatives)
    data["triggers"] = [*data.get("triggers", []), *options.trigger]
    strength = settings.get("lora_strength", 1.0)
    data["loras"] = [*data.get("loras", []), *(lora_use(text, strength) for text in options.loras_used)]
    if options.seed is not None:
        data["seed"] = _seed(options.seed)
    for assignment in options.settings:
        assign(data, assignment)
    return parse_request(data)


def _seed(text: str) -> int | str:
    if text in ("random", "-1", ""):
        return "random"
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else text
