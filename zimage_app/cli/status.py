"""``status``: prints versions, machine and folders, as in the page's details. Loads no model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from zimage_app.cli.folders import add_model_folder_flags, config_of
from zimage_app.cli.terminal import language
from zimage_app.service.diagnostics.details import as_text, details
from zimage_app.service.diagnostics.monitor import Monitor

_MOMENT = 0.3
"""Seconds over which the CPU load is measured."""


def add_status_command(commands: Any) -> None:
    """Add ``status`` to the program's commands."""
    parser = commands.add_parser(
        "status", help="versions, machine and folders", description="What a bug report should say of this machine."
    )
    parser.set_defaults(run=show_status)
    parser.add_argument("--json", action="store_true", help="print one JSON object: the machine's figures and the rest")
    add_model_folder_flags(parser)


def show_status(options: argparse.Namespace) -> int:
    """``status``: exit status is always 0; ``doctor`` reports problems."""
    config = config_of(options)
    monitor = Monitor(config.outputs)
    time.sleep(_MOMENT)
    sections = details(config, monitor, None)
    if options.json:
        facts = {row.name.en: row.value.en for section in sections for row in section.rows}
        sys.stdout.write(json.dumps({"machine": asdict(monitor.machine()), "details": facts}, indent=1) + "\n")
    else:
        sys.stdout.write(as_text(sections, language()))
    return 0
