"""``loras`` and ``loras check``: lists the files under ``loras/``, and checks them against a model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zimage_app.cli.folders import config_of
from zimage_app.cli.lora_flags import full_lora_name
from zimage_app.cli.output import print_json, print_table
from zimage_app.cli.terminal import bad_input, language, notify
from zimage_app.domain.errors import LoraError, StudioError
from zimage_app.domain.text import Text
from zimage_app.service.library.loras import LoraEntry, LoraLibrary

if TYPE_CHECKING:
    from zimage_app.models.lora.names import Names

_SHOWN_WORDS = 3
_LONG_NAME = 40
"""Characters from which on names are folded."""
_COLUMNS = (
    Text("name", "名称"),
    Text("kind", "类型"),
    Text("size", "大小"),
    Text("strength", "强度"),
    Text("trigger words", "触发词"),
    Text("base model", "底模"),
    Text("remarks", "备注"),
)


def add_loras_command(commands: Any) -> None:
    """Add ``loras`` to the program's commands."""
    parser = commands.add_parser(
        "loras", help="list the LoRAs, or check them", description="List the LoRAs under loras/, or check them."
    )
    parser.set_defaults(run=list_loras)
    parser.add_argument("--loras", type=Path, metavar="DIR", help="where LoRAs lie (default: loras/)")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    actions = parser.add_subparsers(metavar="check", parser_class=type(parser))
    check = actions.add_parser("check", description="Read LoRAs against a model: what applies, what doesn't, and why.")
    check.set_defaults(run=check_loras)
    check.add_argument("names", metavar="NAME", nargs="*", help="which ones (default: all)")
    check.add_argument("--model", help="model by name, or a folder (default: the one that generate takes)")
    check.add_argument("--loras", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="where LoRAs lie")


def list_loras(options: argparse.Namespace) -> int:
    """``loras``: list every file with its details, broken ones too."""
    library = LoraLibrary(*config_of(options).lora_folders)
    entries = library.entries()
    if options.json:
        data = [_data(entry, library.known_sha256(entry)) for entry in entries]
        print_json(data)
    elif entries:
        short = max(len(entry.name) for entry in entries) < _LONG_NAME
        print_table((column.to(language()) for column in _COLUMNS), map(_cells, entries), first_whole=short)
    else:
        folder = config_of(options).loras.name
        notify(
            Text(
                f"No LoRA in {folder}/ yet; put .safetensors files there.",
                f"{folder}/ 中还没有 LoRA；请把 .safetensors 文件放进去。",
            )
        )
    return 0


def check_loras(options: argparse.Namespace) -> int:
    """``loras check``: exit status 0 where all LoRAs apply, 1 where one does not, 2 for an unknown name."""
    from zimage_app.models.find.catalogue import find_model
    from zimage_app.service.library.default_model import default_model

    config = config_of(options)
    library = LoraLibrary(*config.lora_folders)
    with bad_input(StudioError):
        source = find_model(options.model or default_model(config), config.model_folders)
        entries = (
            [library.find(full_lora_name(name, library)) for name in options.names]
            if options.names
            else library.entries()
        )

    from zimage_app.service.library.loras.check import module_names  # imports torch: only after checking names

    names = module_names(source)
    results = [_checked(entry, names, library) for entry in entries]
    return 0 if all(results) else 1


def _checked(entry: LoraEntry, names: Names, library: LoraLibrary) -> bool:
    """Print the result for one file; returns whether it applies."""
    from zimage_app.models.lora.parsing import read_lora

    lines: list[Text] = []
    try:
        library.find(entry.name)
        file = read_lora(entry.path, names)
        count = len(file.patches)
        about = f"{entry.kind} {entry.rank}".strip()
        digest = library.sha256(entry)
        lines.append(
            Text(
                f"{entry.name}: applies to {count} weight{'' if count == 1 else 's'} ({about}, SHA-256 {digest[:10]})",
                f"{entry.name}：作用于 {count} 处权重（{about}，SHA-256 {digest[:10]}）",
            )
        )
        lines += [Text(f"  {warning.en}", f"  {warning.zh}") for warning in (*entry.warnings, *file.warnings())]
        fits = True
    except LoraError as error:
        lines.append(error.text)
        fits = False
    sys.stdout.write("".join(f"{line.to(language())}\n" for line in lines))
    return fits


def _cells(entry: LoraEntry) -> tuple[str, ...]:
    more = len(entry.triggers) - _SHOWN_WORDS
    words = ", ".join(entry.triggers[:_SHOWN_WORDS]) + (f" +{more}" if more > 0 else "")
    strength = "" if entry.strength is None else f"{entry.strength:g}"
    remarks = [text.to(language()) for text in (entry.problem, *entry.warnings) if text]
    remark = "; ".join(filter(None, (*remarks, entry.note)))
    return entry.name, f"{entry.kind} {entry.rank}".strip(), _size(entry.size), strength, words, entry.base, remark


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{size / 2**10:.0f} KB"


def _data(entry: LoraEntry, sha256: str | None) -> dict[str, Any]:
    spoken = language()
    return {
        "name": entry.name,
        "path": str(entry.path),
        "title": entry.title,
        "size": entry.size,
        "kind": entry.kind,
        "ranks": entry.ranks,
        "spelling": entry.spelling,
        "width": entry.width,
        "base": entry.base,
        "triggers": entry.triggers,
        "preset_triggers": entry.preset_triggers,
        "strength": entry.strength,
        "note": entry.note,
        "thumbnail": str(entry.thumbnail) if entry.thumbnail else None,
        "sha256": sha256,
        "problem": entry.problem.to(spoken) if entry.problem else None,
        "warnings": [text.to(spoken) for text in entry.warnings],
    }
