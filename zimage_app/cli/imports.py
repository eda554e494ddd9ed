"""``import FILE``: shows the settings in a picture or workflow: taken, translated and left out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zimage_app.cli.folders import config_of
from zimage_app.cli.output import print_json
from zimage_app.cli.terminal import bad_input, language
from zimage_app.domain.errors import ImportedFileError
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import list_models
from zimage_app.service.imports import Imported, fitted, read_file
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.setup.config import StudioConfig

_LISTS = (
    ("taken", Text("Taken", "已取用")),
    ("translated", Text("Translated", "已转换")),
    ("left", Text("Not carried over", "未带入")),
)


def add_import_command(commands: Any) -> None:
    """Add ``import`` to the program's commands."""
    parser = commands.add_parser(
        "import",
        help="show the settings in a picture or workflow",
        description="Show the settings in a picture (ours, ComfyUI's, A1111's, SwarmUI's, InvokeAI's) or a workflow.",
    )
    parser.set_defaults(run=show_import)
    parser.add_argument("file", metavar="FILE", type=Path, help="PNG, JPEG, WebP, workflow JSON, or A1111's text")
    parser.add_argument("--loras", type=Path, metavar="DIR", help="where LoRAs lie (default: loras/)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, whose settings generate takes")


def show_import(options: argparse.Namespace) -> int:
    """``import``: exit status 2 where the file holds no readable settings."""
    config = config_of(options)
    with bad_input(ImportedFileError):
        imported = with_local_names(read_file(options.file), config, LoraLibrary(*config.lora_folders))
    if options.json:
        data = {"source": imported.source.to(language()), "exact": imported.exact, "model": imported.model}
        lists = {name: [text.to(language()) for text in getattr(imported, name)] for name, _ in _LISTS}
        start = None if imported.start is None else asdict(imported.start)
        whole = {**data, "settings": imported.settings, "start": start, **lists}
        print_json(whole)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in report(imported)))
    return 0


def with_local_names(imported: Imported, config: StudioConfig, loras: LoraLibrary) -> Imported:
    """The settings with models and LoRAs renamed to those on this machine; this app's own settings stay unchanged."""
    if imported.exact:
        return imported
    here = {source.card.name: source.card.family for source in list_models(config.model_folders) if source.present}
    return fitted(imported, loras, here)


def report(imported: Imported) -> Iterator[str]:
    """Lines with the source of the settings and the three lists; empty lists are left out."""
    yield Text(f"Settings of {imported.source.en}", f"{imported.source.zh} 的参数").to(language())
    for name, title in _LISTS:
        lines = getattr(imported, name)
        if lines:
            yield f"{title.to(language())}:"
            yield from (f"  {text.to(language())}" for text in lines)
