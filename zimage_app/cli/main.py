"""The command line: flags in, one request out, a progress bar, the saved path. Decides nothing about pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from zimage_app.cli.asking import add_request_flags, settled
from zimage_app.cli.doctor import add_doctor_command
from zimage_app.cli.imports import add_import_command, report
from zimage_app.cli.jobs import add_jobs_command
from zimage_app.cli.lora_flags import remarks
from zimage_app.cli.loras import add_loras_command
from zimage_app.cli.models import add_models_command
from zimage_app.cli.negatives import add_negatives_command
from zimage_app.cli.plan import add_plan_command
from zimage_app.cli.presets import add_presets_command
from zimage_app.cli.remake import compare
from zimage_app.cli.status import add_status_command
from zimage_app.cli.support import add_support_command
from zimage_app.cli.terminal import BAD_INPUT, complain, language, tell
from zimage_app.cli.wildcards import add_wildcards_command
from zimage_app.domain.errors import LoraError, ModelError, RequestError, StudioError
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
    add_request_flags(generate)
    generate.add_argument("--json", action="store_true", help="print one JSON object instead of the path")
    add_doctor_command(commands)
    add_import_command(commands)
    add_jobs_command(commands)
    add_loras_command(commands)
    add_models_command(commands)
    add_negatives_command(commands)
    add_plan_command(commands)
    add_presets_command(commands)
    add_status_command(commands)
    add_support_command(commands)
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
    try:
        asked = settled(options)
    except (ModelError, LoraError) as error:
        return complain(error, BAD_INPUT)
    found, plan = asked.found, asked.plan
    exact = found is not None and found.exact
    if found and not exact:
        sys.stderr.write("".join(f"{line}\n" for line in report(found)))
    for text in (*plan.warnings, *(() if exact else remarks(plan.request, asked.loras))):
        tell(text)

    from zimage_app.cli.progress import watch  # from here on torch is needed: checks above answer at once
    from zimage_app.service.gallery import Gallery
    from zimage_app.service.generation import load_source

    generator = load_source(asked.source, asked.loras, inputs=asked.inputs)
    for text in generator.about:
        tell(text)
    finished = watch(generator.stream(plan), plan, language())
    saved = Gallery(asked.config.outputs).save(finished.picture, finished.record)
    facts: dict[str, Any] = {"path": str(saved.path)}
    if exact:
        facts["identical"] = compare(options.picture, finished.picture)
    if options.json:
        sys.stdout.write(json.dumps({**facts, **json.loads(saved.record.to_json())}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{saved.path}\n")
    return 0
