"""``plan``: prints a plan in numbers without making a picture. Imports no torch."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from zimage_app.cli.lora_flags import remarks
from zimage_app.cli.request_flags import add_request_flags, settled
from zimage_app.cli.terminal import BAD_INPUT, complain, language, tell
from zimage_app.domain.errors import LoraError, ModelError
from zimage_app.domain.plan_summary import PlanMeaning, StageMeaning, meaning, seconds_words
from zimage_app.domain.text import Text
from zimage_app.service.generation.pace import Pace


def add_plan_command(commands: Any) -> None:
    """Add ``plan`` to the program's commands."""
    parser = commands.add_parser(
        "plan",
        help="what settings mean in numbers",
        description="Noise levels, steps, model evaluations and estimated time of each stage; nothing is made.",
    )
    parser.set_defaults(run=show_plan)
    add_request_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show_plan(options: argparse.Namespace) -> int:
    """``plan``: takes the flags of ``generate`` and prints their plan."""
    try:
        asked = settled(options)
    except (ModelError, LoraError) as error:
        return complain(error, BAD_INPUT)
    for text in (*asked.plan.warnings, *remarks(asked.plan.request, asked.loras)):
        tell(text)
    means = meaning(asked.plan, Pace(asked.config.outputs).of(asked.source.card.name))
    if options.json:
        data = {"model": asked.source.card.name, "seconds": means.seconds, **asdict(means)}
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_text(means))
    return 0


def _text(means: PlanMeaning) -> str:
    total = Text(f"All stages: {seconds_words(means.seconds).en}", f"全部阶段：{seconds_words(means.seconds).zh}")
    blocks = [_block(stage) for stage in means.stages]
    return "\n\n".join([*blocks, total.to(language())]) + "\n"


def _block(stage: StageMeaning) -> str:
    shown = language()
    title = Text(f"Stage {stage.number + 1}", f"第 {stage.number + 1} 阶段").to(shown)
    colon = Text(": ", "：").to(shown)
    return "\n".join([title, *(f"  {name.to(shown)}{colon}{value.to(shown)}" for name, value in stage.lines)])
