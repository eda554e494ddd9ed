"""``support``: writes one ZIP for a bug report, of text files that can be read before sending."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from zimage_app.cli.terminal import language, notify
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.support import write_bundle
from zimage_app.service.setup.settings import load_settings


def add_support_command(commands: Any) -> None:
    """Add ``support`` to the program's commands."""
    parser = commands.add_parser(
        "support",
        help="put together what a bug report needs",
        description="One ZIP with versions, settings, the doctor's findings and the last log lines; no pictures, keys"
        " or names, and no prompts unless asked for. Nothing is sent anywhere.",
    )
    parser.set_defaults(run=write_support)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.zip", help="the file to write (default: one with today's date)"
    )
    parser.add_argument("--outputs", metavar="DIR", help="the app's folder of pictures (default: outputs/)")
    parser.add_argument("--with-prompts", action="store_true", help="leave the prompts in the log lines")


def write_support(options: argparse.Namespace) -> int:
    """``support``: write the ZIP and print its path."""
    flags = {"outputs": options.outputs} if options.outputs else {}
    settings = load_settings(flags, os.environ, report=lambda error: notify(error.text))
    path = options.out or Path(f"zimage-support-{datetime.now().astimezone():%Y%m%d-%H%M%S}.zip")
    write_bundle(path, settings, language(), with_prompts=options.with_prompts)
    sys.stdout.write(f"{path}\n")
    notify(Text("Look into it before you send it.", "发送前请先打开看看内容。"))
    return 0
