"""``wildcards``: lists wildcards, shows their lines, and tries a prompt out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from zimage_app.cli.folders import config_of
from zimage_app.cli.output import print_json
from zimage_app.cli.terminal import BAD_INPUT, language, notify, print_error
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.settings.stage import MAX_SEED
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import combinations, draw, parse
from zimage_app.service.library.wildcards import WildcardLibrary, WildcardList

_SAMPLES = 3
_MAX_TRIES = 1000


def add_wildcards_command(commands: Any) -> None:
    """Add ``wildcards`` to the program's commands."""
    parser = commands.add_parser(
        "wildcards",
        help="list the wildcards for prompts, show one, or try a prompt out",
        description="List the wildcards under presets/wildcards/, show the lines of NAME, or try a prompt out.",
    )
    parser.set_defaults(run=run_wildcards)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the wildcard to show, as time or 时间")
    parser.add_argument("--try", metavar="PROMPT", dest="prompt", help="say what PROMPT comes to; nothing is generated")
    parser.add_argument(
        "--seed", type=partial(_whole, 0, MAX_SEED), help="with --try: the first seed (default: random)"
    )
    parser.add_argument(
        "--count",
        type=partial(_whole, 1, _MAX_TRIES),
        default=5,
        metavar="N",
        help="with --try: how many seeds (default: 5)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_wildcards(options: argparse.Namespace) -> int:
    """``wildcards``: exit status 2 for an unknown wildcard or invalid syntax."""
    library = WildcardLibrary(*config_of().wildcard_folders)
    try:
        if options.prompt is not None:
            return _try_out(options, library)
        if options.name is not None:
            return _show(options, library.lines(options.name.strip("_")))
    except RequestError as error:
        return print_error(error.at("--try" if options.prompt is not None else "NAME"), BAD_INPUT)
    lists = library.lists()
    for each in lists:
        if each.problem is not None:
            notify(each.problem)
    if options.json:
        print_json([{"name": each.name, "lines": len(each.lines), "about": each.about} for each in lists])
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _table(lists)))
    return 0


def _try_out(options: argparse.Namespace, library: WildcardLibrary) -> int:
    count = combinations(parse(options.prompt), library.lines)
    first = draw_seed() if options.seed is None else options.seed
    seeds = [min(first + turn, MAX_SEED) for turn in range(options.count)]
    drawn = [{"seed": seed, "prompt": draw(options.prompt, seed, library.lines)} for seed in seeds]
    if options.json:
        print_json({"combinations": count, "drawn": drawn})
        return 0
    notify(Text(f"{count:,} combinations", f"共 {count:,} 种组合"))
    sys.stdout.write("".join(f"{each['seed']}  {each['prompt']}\n" for each in drawn))
    return 0


def _show(options: argparse.Namespace, lines: tuple[str, ...]) -> int:
    if options.json:
        print_json(lines)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _table(lists: tuple[WildcardList, ...]) -> Iterator[str]:
    for each in lists:
        joint, brackets = ("、", "（{}）") if language() != "en" else (", ", " ({})")
        more = "…" if len(each.lines) > _SAMPLES else ""
        about = brackets.format(each.about) if each.about else ""
        yield f"__{each.name}__  {len(each.lines)}{about}  {joint.join(each.lines[:_SAMPLES])}{more}"


def _whole(low: int, high: int, text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(high)) else -1
    if not low <= number <= high:
        wrong = Text(f"{text} must be a whole number from {low} to {high}", f"{text} 必须是 {low} 到 {high} 的整数")
        raise argparse.ArgumentTypeError(wrong.to(language()))
    return number
