"""``jobs``: what waits in the queue of the page and REST; cancel some of it, or all. Works beside a running app."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zimage_app.cli.places import config_of
from zimage_app.cli.terminal import language, tell
from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text
from zimage_app.service.jobs import QUEUE_NAME, Job, JobQueue

_PIPE_WIDTH = 200
"""Columns where the output is no terminal."""
_COLUMNS = (Text("job", "任务"), Text("state", "状态"), Text("model", "模型"), Text("prompt", "提示词"))
_STATES = {"waiting": Text("waiting", "排队中"), "running": Text("running", "进行中")}
_LONGEST = 80
"""Characters of a prompt that are shown."""


def add_jobs_command(commands: Any) -> None:
    """Add ``jobs`` and its actions to the program's commands."""
    parser = commands.add_parser(
        "jobs",
        help="list or cancel what waits in the queue",
        description="List the jobs of the page and REST, in turn.",
    )
    parser.set_defaults(run=list_jobs)
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    _add_place_flag(parser, None)
    actions = parser.add_subparsers(metavar="cancel|clear", parser_class=type(parser))
    cancel = actions.add_parser("cancel", description="Take jobs that wait out of the queue, and stop running ones.")
    cancel.set_defaults(run=cancel_jobs)
    cancel.add_argument("ids", metavar="JOB", nargs="+", help="as the list shows it")
    clear = actions.add_parser("clear", description="Take all jobs that wait out of the queue.")
    clear.set_defaults(run=clear_jobs)
    for action in (cancel, clear):
        _add_place_flag(action, argparse.SUPPRESS)


def list_jobs(options: argparse.Namespace) -> int:
    """``jobs``: in the order in which they run."""
    with _queue(options) as queue:
        turns = queue.turns() if queue else []
        jobs = [job for turn in turns if queue and (job := queue.find(turn.id))]
    if options.json:
        sys.stdout.write(json.dumps([_data(job) for job in jobs], ensure_ascii=False, indent=1) + "\n")
        return 0
    if not jobs:
        tell(Text("Nothing waits.", "队列为空。"))
        return 0
    spoken = language()
    table = Table(*(column.to(spoken) for column in _COLUMNS), box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        prompt = " ".join(_prompt(job).split())
        short = prompt if len(prompt) <= _LONGEST else f"{prompt[: _LONGEST - 1]}…"
        table.add_row(*map(escape, (job.id, _STATES[job.state].to(spoken), job.model, short)))
    console = Console()
    (console if console.is_terminal else Console(width=_PIPE_WIDTH)).print(table)
    return 0


def cancel_jobs(options: argparse.Namespace) -> int:
    """``jobs cancel``; a running one ends before its next step, where an app runs it."""
    with _queue(options) as queue:
        for job_id in options.ids:
            job = queue.find(job_id) if queue else None
            if queue is None or job is None:
                raise RequestError(
                    "JOB",
                    Text(
                        f"{job_id} is not in the queue; 'jobs' lists what is",
                        f"队列中没有 {job_id}；可用 jobs 命令查看",
                    ),
                )
            if job.state not in _STATES:
                tell(Text(f"{job_id} is over already.", f"{job_id} 已经结束。"))
            elif queue.stop(job_id) == "running":
                tell(Text(f"{job_id} is being stopped.", f"正在停止 {job_id}。"))
            else:
                tell(Text(f"{job_id} is taken out.", f"{job_id} 已取消。"))
    return 0


def clear_jobs(options: argparse.Namespace) -> int:
    """``jobs clear``."""
    with _queue(options) as queue:
        count = queue.clear() if queue else 0
    tell(Text(f"{count} waiting {'job' if count == 1 else 'jobs'} taken out.", f"已取消 {count} 个排队任务。"))
    return 0


# Parts.


def _add_place_flag(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--outputs", type=Path, default=default, metavar="DIR", help="the app's folder of pictures (default: outputs/)"
    )


@contextmanager
def _queue(options: argparse.Namespace) -> Iterator[JobQueue | None]:
    """The queue of a folder of pictures; None where it has none, and none is made."""
    config = config_of(options)
    if not (config.state / QUEUE_NAME).is_file():
        yield None
        return
    queue = JobQueue(config.state)
    if queue.warning is not None:
        tell(queue.warning)
    try:
        yield queue
    finally:
        queue.close()


def _prompt(job: Job) -> str:
    try:
        return str(json.loads(job.request).get("prompt", ""))
    except (ValueError, AttributeError):
        return ""


def _data(job: Job) -> dict[str, object]:
    return {"job": job.id, "state": job.state, "model": job.model, "prompt": _prompt(job)}
