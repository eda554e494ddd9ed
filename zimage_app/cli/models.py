"""``models``, ``models fetch``, ``check`` and ``add``: lists, downloads, checks and registers models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from zimage_app.cli.folders import add_model_folder_flags, config_of
from zimage_app.cli.output import print_json, print_table
from zimage_app.cli.terminal import BAD_INPUT, bad_input, language, notify, print_error
from zimage_app.domain.errors import StudioError
from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Text
from zimage_app.service.library.models import SOURCES, FetchView, ModelLibrary, ModelView

_COLUMNS = (Text("name", "名称"), Text("state", "状态"), Text("model", "模型"), Text("remarks", "备注"))
_STATES = {
    "ready": Text("ready", "可用"),
    "fetch": Text("to fetch", "需下载"),
    "broken": Text("broken", "有问题"),
}
_YES = ("y", "yes", "j", "是", "好")


def add_models_command(commands: Any) -> None:
    """Add ``models`` to the program's commands."""
    parser = commands.add_parser(
        "models", help="list the models, fetch, check or add one", description="List the models and their state."
    )
    parser.set_defaults(run=list_models)
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    add_model_folder_flags(parser)
    actions = parser.add_subparsers(metavar="fetch|check|add", parser_class=type(parser))
    get = actions.add_parser("fetch", description="Fetch what a model lacks, after saying how much that is.")
    get.set_defaults(run=fetch_model)
    get.add_argument("name", metavar="NAME", help="a model of the list, or owner/name of a repository on the hub")
    get.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="where from (default: %(default)s)")
    get.add_argument("--mirror", metavar="URL", help="a copy of Hugging Face to fetch from (default: HF_ENDPOINT)")
    get.add_argument("--offline", action="store_true", help="never use the network; says what is missing")
    get.add_argument("--yes", action="store_true", help="do not ask")
    check = actions.add_parser("check", description="Look closely at a model: its headers, and its checksums if known.")
    check.set_defaults(run=check_model)
    check.add_argument("name", metavar="NAME", help="a model of the list, or a folder")
    add = actions.add_parser("add", description="Give a name to a model whose parts are files on this machine.")
    add.set_defaults(run=add_model)
    add.add_argument("name", metavar="NAME", help="what to call it")
    for flag, what in (
        ("transformer", "file or folder"),
        ("text-encoder", "file or folder"),
        ("vae", "file or folder"),
    ):
        add.add_argument(f"--{flag}", type=Path, required=True, metavar="PATH", help=what)
    add.add_argument("--tokenizer", type=Path, metavar="DIR", help="folder (default: any copy of the family's)")
    add.add_argument("--card", metavar="NAME", help="whose settings it has: z-image-turbo or z-image")
    for action in (get, check, add):
        add_model_folder_flags(action, argparse.SUPPRESS)


def list_models(options: argparse.Namespace) -> int:
    """``models``: list every model, whether it is on this machine, and its problems."""
    with bad_input(StudioError):
        views = _library(options).views()
    if options.json:
        print_json([_data(view) for view in views])
        return 0
    print_table((column.to(language()) for column in _COLUMNS), map(_cells, views), first_whole=True)
    return 0


def fetch_model(options: argparse.Namespace) -> int:
    """``models fetch``: exit status 0 once the model is here, 1 where the download failed, 2 for an unknown name."""
    library = _library(options)
    with bad_input(StudioError):
        library.view(options.name)
    offer = library.offer(options.name, options.source, options.mirror)
    if offer is None:
        notify(Text(f"{options.name} is here already.", f"{options.name} 已在本机。"))
        return 0
    notify(offer.text)
    if not options.yes and not _agreed():
        return BAD_INPUT
    try:
        last = _follow(library, library.start(options.name, options.source, options.mirror))
    finally:
        library.close()
    if last.error is not None:
        return print_error(last.error, 1)
    notify(Text(f"{options.name} is here and checked.", f"{options.name} 已下载并校验完成。"))
    return 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        notify(Text("Nothing was fetched: give --yes to agree to it.", "没有下载：如同意请加 --yes。"))
        return False
    question = Text("Fetch it now? [y/N] ", "现在下载吗？[y/N] ").to(language())
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in _YES


def _follow(library: ModelLibrary, view: FetchView) -> FetchView:
    """Show the download's progress until it ends; returns its last state."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        while not view.ended:
            view = library.wait(view.version, timeout=1.0) or view
            if view.progress is not None:
                words = escape(view.progress.text.to(language()))
                progress.update(task, completed=view.progress.fraction, description=words)
    return view


def check_model(options: argparse.Namespace) -> int:
    """``models check``: exit status 0 without problems, 1 with problems, 2 for an unknown name."""
    library = _library(options)
    with bad_input(StudioError):
        library.view(options.name)
    good = True
    for verdict in library.check(options.name):
        sys.stdout.write(f"{'✓' if verdict.good else '✗'} {verdict.text.to(language())}\n")
        sys.stdout.flush()
        good = good and verdict.good
    return 0 if good else 1


def add_model(options: argparse.Namespace) -> int:
    """``models add``: check the files, then write a YAML file that names them."""
    given = {
        "transformer": options.transformer,
        "text_encoder": options.text_encoder,
        "vae": options.vae,
        "tokenizer": options.tokenizer,
    }
    parts = {part: path.expanduser().absolute() for part, path in given.items() if path is not None}
    with bad_input(StudioError):
        path = _library(options).add(options.name, parts, options.card)
    sys.stdout.write(f"{path}\n")
    return 0


def _library(options: argparse.Namespace) -> ModelLibrary:
    return ModelLibrary(config_of(options))


def _cells(view: ModelView) -> tuple[str, ...]:
    spoken = language()
    state = _STATES[view.state].to(spoken)
    if view.about is not None:
        state = f"{state} (~{shown_size(view.about)})"
    remarks = [text.to(spoken) for text in (*((view.reason,) if view.reason else ()), *view.notes)]
    if view.state == "fetch" and view.about is None:
        remarks.append(Text(f"missing: {', '.join(view.missing)}", f"缺少：{', '.join(view.missing)}").to(spoken))
    return view.name, state, view.card.title.to(spoken), "; ".join(remarks)


def _data(view: ModelView) -> dict[str, Any]:
    spoken = language()
    return {
        "name": view.name,
        "title": view.card.title.to(spoken),
        "description": view.card.description.to(spoken),
        "state": view.state,
        "missing": view.missing,
        "about": view.about,
        "reason": view.reason.to(spoken) if view.reason else None,
        "notes": [note.to(spoken) for note in view.notes],
    }
