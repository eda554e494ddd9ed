"""``compare``: measures how much pictures differ, and can write a page that shows where."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from zimage_app.cli.folders import add_alone_flag
from zimage_app.cli.request_flags import add_setting_flags
from zimage_app.cli.terminal import bad_input, notify
from zimage_app.cli.two_settings import pictures_of
from zimage_app.domain.errors import LoraError, ModelError, RequestError, StorageError
from zimage_app.domain.text import Text

if TYPE_CHECKING:
    from zimage_app.service.pictures.comparison import Distance

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".json", ".txt")
"""Of files that hold pictures or settings."""


def add_compare_command(commands: Any) -> None:
    """Add ``compare`` to the program's commands."""
    parser = commands.add_parser(
        "compare",
        help="how far two pictures, the pictures of two folders, or of two settings are apart",
        description="Compare two PNG files, with the stages kept beside both, the files of the same name in two"
        " folders, or two settings, of each of which a picture is made: PSNR, SSIM, the share of pixels that differ,"
        " and LPIPS where its package and weights are here. Settings are a preset's name or a file that generate --from"
        " reads; of a picture, with --make.",
    )
    parser.set_defaults(run=compare)
    parser.add_argument("first", metavar="A", type=Path, help="a PNG file, a folder, or settings")
    parser.add_argument("second", metavar="B", type=Path, help="what it is compared with, of the same kind")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page with the pictures and their difference"
    )
    parser.add_argument("--make", action="store_true", help="A and B are settings, also where they are pictures")
    parser.add_argument("--prompt", metavar="TEXT", help="of settings that have none; counts for more than theirs")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_alone_flag(parser)
    add_setting_flags(parser)


def compare(options: argparse.Namespace) -> int:
    """Print a line for each pair, and the mean of several; exit status 0 even where pictures differ."""
    for name, side in (("A", options.first), ("B", options.second)):
        if _is_path(side) and not side.exists():
            raise RequestError(name, Text(f"there is no file or folder {side}", f"没有文件或文件夹 {side}"))
    from zimage_app.service.pictures.comparison import distances, write_report  # imports scipy, which takes a second
    from zimage_app.service.pictures.perceptual import perceptual_distance

    metric = perceptual_distance()
    with bad_input(StorageError, ModelError, LoraError):
        pair = (options.first, options.second)
        first, second = pair if _are_pictures(*pair) and not options.make else pictures_of(options)
        found = distances(first, second, None if isinstance(metric, Text) else metric)
        report = write_report(options.report, found) if options.report else None
    if isinstance(metric, Text):
        notify(metric)
    if options.json:
        rows = [asdict(each) | {"first": str(each.first), "second": str(each.second)} for each in found]
        finite = [row | {"psnr": None if math.isinf(row["psnr"]) else row["psnr"]} for row in rows]
        sys.stdout.write(f"{json.dumps(finite, ensure_ascii=False, indent=2)}\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(found)))
    if report:
        notify(Text(f"The report is {report}.", f"报告位于 {report}。"))
    return 0


def _is_path(side: Path) -> bool:
    """Whether a side is the path of a file or folder, and not a preset's name, which may have a dot in it."""
    return side.name != str(side) or side.suffix.lower() in _SUFFIXES


def _are_pictures(*sides: Path) -> bool:
    """Whether all paths are folders or PNG files (existing or not), which are compared directly."""
    return all(side.is_dir() or side.suffix.lower() == ".png" for side in sides)


def _lines(found: Sequence[Distance]) -> Iterator[str]:
    for each in found:
        lpips = "" if each.lpips is None else f", LPIPS {each.lpips:.4f}"
        yield f"{each.name}: {_numbers(each.psnr, each.ssim)}{lpips}, {each.share:.2%} differ by up to {each.most}"
    if len(found) > 1:
        yield f"mean: {_numbers(fmean(each.psnr for each in found), fmean(each.ssim for each in found))}"


def _numbers(psnr: float, ssim: float) -> str:
    return f"PSNR {psnr:.2f} dB, SSIM {ssim:.4f}"
