"""The command line: its commands, and the exit statuses for their errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from zimage_app.cli.batch import add_batch_command
from zimage_app.cli.compare import add_compare_command
from zimage_app.cli.doctor import add_doctor_command
from zimage_app.cli.export import add_export_command
from zimage_app.cli.flag_errors import flag_error
from zimage_app.cli.generate import add_generate_command
from zimage_app.cli.grid import add_grid_command
from zimage_app.cli.history import add_history_command
from zimage_app.cli.imports import add_import_command
from zimage_app.cli.jobs import add_jobs_command
from zimage_app.cli.loras import add_loras_command
from zimage_app.cli.models import add_models_command
from zimage_app.cli.negatives import add_negatives_command
from zimage_app.cli.plan import add_plan_command
from zimage_app.cli.presets import add_presets_command
from zimage_app.cli.status import add_status_command
from zimage_app.cli.support import add_support_command
from zimage_app.cli.terminal import BAD_INPUT, BadInputError, EscapingStream, language, print_error, status_of, stopped
from zimage_app.cli.upscale import add_upscale_command
from zimage_app.cli.wildcards import add_wildcards_command
from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__
from zimage_app.service.setup.settings import variable_of

APP = "app"
"""The command that starts the page; ``zimage_app/__main__.py`` runs it, because this package can't import the page."""
_COMMAND = "command"


class _Actions(argparse._SubParsersAction):  # type: ignore[type-arg]
    """The actions of a command; flags of the command itself are refused before one that doesn't take them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Parse the action's flags, which follow its name."""
        action = self.choices.get(values[0])
        if action is not None and self.dest != _COMMAND:
            taken = {each.dest for each in action._actions if each.default is argparse.SUPPRESS}
            for each in parser._actions:
                if each.dest not in taken and getattr(namespace, each.dest, each.default) != each.default:
                    flag, name = each.option_strings[0], values[0]
                    parser.refuse(
                        Text(
                            f"{flag} has no effect before {name}; leave it out, or write it after {name}",
                            f"{flag} 写在 {name} 之前不起作用；请去掉，或写在 {name} 之后",
                        )
                    )
        super().__call__(parser, namespace, values, option_string)


class _CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one sentence, without the usage."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.register("action", "parsers", _Actions)

    def error(self, message: str) -> NoReturn:
        self.refuse(flag_error(message))

    def refuse(self, said: Text) -> NoReturn:
        """End the program with one sentence."""
        sentence = Text(f"{said.en}; see {self.prog} --help", f"{said.zh}；用法见 {self.prog} --help")
        self.exit(BAD_INPUT, f"{sentence.to(language())}\n")


def build_parser() -> argparse.ArgumentParser:
    """A parser with every command and its flags."""
    parser = _CommandParser(prog=_program(), description="Three-stage progressive pictures with Z-Image.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--home", type=Path, metavar="DIR", help="your folder, as ZIMAGE_HOME names it too")
    commands = parser.add_subparsers(dest=_COMMAND, required=True, metavar="COMMAND", parser_class=_CommandParser)
    page = commands.add_parser(APP, help="start the page; its flags: app --help", add_help=False)
    page.set_defaults(run=_app_elsewhere)
    add_generate_command(commands)
    add_batch_command(commands)
    add_doctor_command(commands)
    add_export_command(commands)
    add_grid_command(commands)
    add_compare_command(commands)
    add_history_command(commands)
    add_import_command(commands)
    add_jobs_command(commands)
    add_loras_command(commands)
    add_models_command(commands)
    add_negatives_command(commands)
    add_plan_command(commands)
    add_presets_command(commands)
    add_status_command(commands)
    add_support_command(commands)
    add_upscale_command(commands)
    add_wildcards_command(commands)
    return parser


def _app_elsewhere(options: argparse.Namespace) -> int:
    del options
    raise RequestError(APP, Text("stands first; write app --home DIR", "必须写在最前面，如 app --home 目录"))


def _program() -> str:
    name = Path(sys.argv[0]).stem
    return name if name == "zimage" else "python -m zimage_app"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted, 141 done, but the output's reader had gone.
    """
    output = EscapingStream(sys.stdout)
    with redirect_stdout(output), redirect_stderr(EscapingStream(sys.stderr)):
        try:
            status = _run(build_parser().parse_args(arguments))
        finally:
            output.flush()  # after --help, too, which argparse prints and exits
        return status or status_of(output)


def _run(options: argparse.Namespace) -> int:
    if options.home is not None:
        os.environ[variable_of("home")] = str(options.home)  # for the command and its child processes
    try:
        status: int = options.run(options)
        return status
    except (RequestError, BadInputError) as error:
        return print_error(error, BAD_INPUT)
    except StudioError as error:
        return print_error(error, 1)
    except KeyboardInterrupt:
        return stopped()
