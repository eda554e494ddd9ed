"""``plan``: sizes, cost and time of a request, or how models fit into a GPU's memory; makes no picture."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from typing import Any

from zimage_app.cli.folders import config_of
from zimage_app.cli.lora_flags import lora_warnings
from zimage_app.cli.request_flags import add_request_flags, resolve_command
from zimage_app.cli.terminal import bad_input, language, notify
from zimage_app.domain.errors import LoraError, ModelError
from zimage_app.domain.plan_summary import PlanNumbers, StageNumbers, plan_numbers, seconds_words
from zimage_app.domain.text import Text
from zimage_app.models.find.sizes import suggested
from zimage_app.service.generation.run_times import RunTimes


def add_plan_command(commands: Any) -> None:
    """Add ``plan`` to the program's commands."""
    parser = commands.add_parser(
        "plan",
        help="what settings mean in numbers",
        description="Noise levels, steps, model evaluations and estimated time of each stage; nothing is made.",
    )
    parser.set_defaults(run=show_plan)
    add_request_flags(parser)
    parser.add_argument(
        "--memory",
        type=_gigabytes,
        metavar="GB",
        help="how each model would fit into a card of so much memory, instead",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _gigabytes(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 1 <= amount <= 1024:
        wrong = Text(f"{text!r} must be a number of gigabytes from 1 to 1024", f"{text!r} 必须是 1 到 1024 的 GB 数")
        raise argparse.ArgumentTypeError(wrong.to(language()))
    return amount


def show_fits(options: argparse.Namespace) -> int:
    """``plan --memory``: how every model fits into a GPU's memory, and the recommended variant of Z-Image-Turbo."""
    from zimage_app.service.library.gpu_fit import fit_models  # imports torch: seconds

    memory = int(options.memory * 2**30)
    found, best = list(fit_models(config_of(options), memory)), suggested(memory)
    if options.json:
        models = {fit.name: asdict(fit) for fit in found}
        sys.stdout.write(json.dumps({"suggested": best, "models": models}, ensure_ascii=False) + "\n")
        return 0
    shown = language()
    colon = Text(": ", "：").to(shown)
    lines = [f"{fit.name}{colon}{fit.text.to(shown)}\n" for fit in found]
    last = Text(
        f"For a card of {options.memory:g} GB: python -m zimage_app models fetch {best}",
        f"{options.memory:g} GB 显存建议：python -m zimage_app models fetch {best}",
    )
    sys.stdout.write("".join(lines) + last.to(shown) + "\n")
    return 0


def show_plan(options: argparse.Namespace) -> int:
    """``plan``: takes the flags of ``generate``, and prints the plan."""
    if options.memory is not None:
        return show_fits(options)
    with bad_input(ModelError, LoraError):
        asked = resolve_command(options)
    for text in (*asked.plan.warnings, *lora_warnings(asked.plan.request, asked.loras)):
        notify(text)
    means = plan_numbers(asked.plan, RunTimes(asked.config.outputs).of(asked.source.card.name))
    if options.json:
        data = {"model": asked.source.card.name, "seconds": means.seconds, **asdict(means)}
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_text(means))
    return 0


def _text(means: PlanNumbers) -> str:
    total = Text(f"All stages: {seconds_words(means.seconds).en}", f"全部阶段：{seconds_words(means.seconds).zh}")
    blocks = [_block(stage) for stage in means.stages]
    return "\n\n".join([*blocks, total.to(language())]) + "\n"


def _block(stage: StageNumbers) -> str:
    shown = language()
    title = Text(f"Stage {stage.number + 1}", f"第 {stage.number + 1} 阶段").to(shown)
    colon = Text(": ", "：").to(shown)
    return "\n".join([title, *(f"  {name.to(shown)}{colon}{value.to(shown)}" for name, value in stage.lines)])
