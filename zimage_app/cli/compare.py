"""``compare``: how far pictures are apart, in numbers, and a page that shows where."""

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

from zimage_app.cli.terminal import BAD_INPUT, complain, tell
from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text

if TYPE_CHECKING:
    from zimage_app.service.pictures.comparison import Distance


def add_compare_command(commands: Any) -> None:
    """Add ``compare`` to the program's commands."""
    parser = commands.add_parser(
        "compare",
        help="how far two pictures, or the pictures of two folders, are apart",
        description="Compare two PNG files, with the stages kept beside both, or the files of the same name in two"
        " folders: PSNR, SSIM and the share of pixels that differ. LPIPS is left out: its weights are not part of this"
        " program.",
    )
    parser.set_defaults(run=compare)
    parser.add_argument("first", metavar="A", type=Path, help="a PNG file or a folder")
    parser.add_argument("second", metavar="B", type=Path, help="what it is compared with, of the same kind")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page with the pictures and their difference"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def compare(options: argparse.Namespace) -> int:
    """Prints a line for each pair, and the mean of several; status 0 also where the pictures differ."""
    from zimage_app.service.pictures.comparison import distances, write_report  # imports scipy: a second

    try:
        found = distances(options.first, options.second)
        report = write_report(options.report, found) if options.report else None
    except StorageError as error:
        return complain(error, BAD_INPUT)
    if options.json:
        rows = [asdict(each) | {"first": str(each.first), "second": str(each.second)} for each in found]
        finite = [row | {"psnr": None if math.isinf(row["psnr"]) else row["psnr"]} for row in rows]
        sys.stdout.write(f"{json.dumps(finite, ensure_ascii=False, indent=2)}\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(found)))
    if report:
        tell(Text(f"The report is {report}.", f"报告位于 {report}。"))
    return 0


def _lines(found: Sequence[Distance]) -> Iterator[str]:
    for each in found:
        yield f"{each.name}: {_numbers(each.psnr, each.ssim)}, {each.share:.2%} differ by up to {each.most}"
    if len(found) > 1:
        yield f"mean: {_numbers(fmean(each.psnr for each in found), fmean(each.ssim for each in found))}"


def _numbers(psnr: float, ssim: float) -> str:
    return f"PSNR {psnr:.2f} dB, SSIM {ssim:.4f}"
