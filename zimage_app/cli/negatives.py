"""``negatives``: lists and searches the library of negative prompts; ``--negative-preset`` uses its entries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from zimage_app.cli.folders import config_of
from zimage_app.cli.output import print_json
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.errors import RequestError
from zimage_app.domain.negatives import NegativeCategory, NegativeEntry, combine
from zimage_app.domain.text import Text
from zimage_app.service.library.negatives import NegativeLibrary


def add_negatives_command(commands: Any) -> None:
    """Add ``negatives`` to the program's commands."""
    parser = commands.add_parser(
        "negatives",
        help="list or search the negative prompts",
        description="List the library of negative prompts, or what of it has all words of SEARCH.",
    )
    parser.set_defaults(run=list_negatives)
    parser.add_argument("search", metavar="SEARCH", nargs="*", help="words to look for, in Chinese or English")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def list_negatives(options: argparse.Namespace) -> int:
    """``negatives``: list entries by category, and the reasons of broken files. Exit status 1 where none is found."""
    library = NegativeLibrary(*config_of().negative_folders)
    search = " ".join(options.search)
    for category in library.categories():
        if category.problem is not None:
            notify(category.problem)
    found = library.search(search)
    if options.json:
        data = [_data(category, entry) for category in found for entry in category.entries]
        print_json(data)
    else:
        sys.stdout.write("\n".join(_lines(found)))
    if not found:
        notify(Text(f"Nothing in the library has {search!r}.", f"词库中没有与 {search!r} 匹配的词条。"))
    return 0 if found else 1


def negative_text(text: str, names: Sequence[str]) -> str:
    """The typed text and the named entries, joined to one negative prompt.

    Raises:
        RequestError: there is no entry with one of the names.
    """
    library = NegativeLibrary(*config_of().negative_folders)
    try:
        return combine([library.find(name).text for name in names], text)
    except RequestError as error:
        raise error.at("--negative-preset") from error


def _lines(found: Sequence[NegativeCategory]) -> list[str]:
    lines: list[str] = []
    for category in found:
        lines.append(category.title.to(language()))
        lines += [f"  {_line(entry)}" for entry in category.entries]
        lines.append("")
    return lines


def _line(entry: NegativeEntry) -> str:
    when = entry.when.to(language()) if entry.when else ""
    brackets = "（{}）" if language() != "en" else " ({})"
    return f"{entry.text}  {entry.meaning}".rstrip() + (brackets.format(when) if when else "")


def _data(category: NegativeCategory, entry: NegativeEntry) -> dict[str, str]:
    spoken = language()
    return {
        "text": entry.text,
        "meaning": entry.meaning,
        "when": entry.when.to(spoken) if entry.when else "",
        "category": category.title.to(spoken),
    }
