"""``doctor``: checks everything the app needs; one line per check, exit status 1 where there is a problem."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text as RichText

from zimage_app.cli.app_client import AppClient
from zimage_app.cli.folders import add_model_folder_flags, config_of
from zimage_app.cli.output import print_json
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor import Finding, Level, examine
from zimage_app.service.jobs.folder_lock import running_app
from zimage_app.service.jobs.runners.about import runner_section
from zimage_app.service.jobs.runners.runner import RunnerStatus
from zimage_app.service.setup.config import StudioConfig

_MARKS: dict[Level, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def add_doctor_command(commands: Any) -> None:
    """Add ``doctor`` to the program's commands."""
    parser = commands.add_parser(
        "doctor",
        help="check folders, databases, models, packages, GPU and port",
        description="Look at everything that the app needs; say what is wrong and what to do. Changes nothing.",
    )
    parser.set_defaults(run=show_findings)
    parser.add_argument(
        "--deep", action="store_true", help="read the models' files from end to end, which takes a while"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--outputs", type=Path, metavar="DIR", help="where pictures are kept (default: outputs/)")
    parser.add_argument("--loras", type=Path, metavar="DIR", help="where LoRAs lie (default: loras/)")
    add_model_folder_flags(parser)


def show_findings(options: argparse.Namespace) -> int:
    """``doctor``: exit status 1 where a problem prevents making pictures, else 0."""
    config = config_of(options, report=_told_by_the_checks)
    findings = []
    console = Console(highlight=False, soft_wrap=True)
    for finding in itertools.chain(examine(config, deep=options.deep), _working_runners(config)):
        findings.append(finding)
        if not options.json:
            console.print(_line(finding))
    wrong = sum(finding.level == "problem" for finding in findings)
    if options.json:
        data = {"findings": [_data(finding) for finding in findings], "problems": wrong}
        print_json(data)
    elif wrong:
        problems = "problem" if wrong == 1 else "problems"
        notify(Text(f"{wrong} {problems} to fix (lines marked ✗).", f"有 {wrong} 处需要处理：见标有 ✗ 的各行。"))
    else:
        notify(Text("Nothing is in the way of making pictures.", "一切就绪，可以生成图片。"))
    return 1 if wrong else 0


def _told_by_the_checks(error: StudioError) -> None:
    """An invalid setting stops no check; the check of the settings tells of it."""


def _working_runners(config: StudioConfig) -> Iterator[Finding]:
    """One finding for each runner of the running app, with its model, state and job; none where no app runs."""
    app = running_app(config.state)
    if app is None:
        return
    try:
        with closing(AppClient(app)) as client:
            runners = client.call("GET", "/system/status")["runners"]
    except StudioError as error:
        yield Finding("warning", Text("Running app", "正在运行的程序"), error.text)
        return
    known = [(_status(each), each["task_id"]) for each in runners or ()]
    for (status, _), row in zip(known, runner_section(known).rows, strict=True):
        name = Text(f"Runner {row.name.en}", f"生成器 {row.name.zh}")
        yield Finding("warning" if status.trouble else "ok", name, row.value)


def _status(answer: dict[str, Any]) -> RunnerStatus:
    problem = answer["problem"]
    trouble = None if problem is None else Text(problem, problem)  # in the reader's language already
    return RunnerStatus(answer["kind"], answer["where"], answer["model"] or "", trouble)


def _line(finding: Finding) -> RichText:
    spoken = language()
    mark, colour = _MARKS[finding.level]
    colon = "：" if spoken != "en" else ": "
    return RichText.assemble((f"{mark} ", colour), f"{finding.about.to(spoken)}{colon}{finding.text.to(spoken)}")


def _data(finding: Finding) -> dict[str, str]:
    spoken = language()
    return {"level": finding.level, "about": finding.about.to(spoken), "text": finding.text.to(spoken)}
