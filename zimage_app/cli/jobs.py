"""``jobs``: lists, cancels, reorders and pauses the jobs in the queue of page and REST.

It calls the running app where there is one; otherwise it opens the queue's database itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from zimage_app.cli.app_client import AppClient
from zimage_app.cli.folders import add_outputs_flag, config_of
from zimage_app.cli.output import print_json, print_table
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.errors import RequestError
from zimage_app.domain.text import Text, shortened
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.folder_lock import running_app
from zimage_app.service.jobs.state import FINAL, JobState
from zimage_app.service.jobs.store import STORE_NAME
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.setup.config import StudioConfig

_COLUMNS = (Text("job", "任务"), Text("state", "状态"), Text("model", "模型"), Text("prompt", "提示词"))
_STATES = {
    "waiting": Text("waiting", "排队中"),
    "loading": Text("loading", "加载中"),
    "running": Text("running", "进行中"),
    "stopping": Text("stopping", "正在停止"),
    "saving": Text("saving", "保存中"),
}
MAX_PROMPT = 80
"""Most characters of a prompt that a table shows."""

JobRow = dict[str, Any]
"""A waiting or running job, with the keys job, state, model, prompt, group."""


class _AppQueue:
    """The queue of a running app, over REST. ``_ClosedQueue`` has the same methods."""

    def __init__(self, app: AppClient) -> None:
        self._app = app

    def rows(self) -> tuple[bool, list[JobRow]]:
        queue = self._app.call("GET", "/queue")
        names = {"task_id": "job", "state": "state", "model": "model", "prompt": "prompt", "group": "group"}
        return queue["paused"], [{name: task[key] for key, name in names.items()} for task in queue["tasks"]]

    def state(self, job_id: str) -> str | None:
        task = self._app.call("GET", f"/generate/{job_id}")
        return None if task is None else str(task["state"])

    def cancel(self, job_id: str) -> None:
        self._app.call("DELETE", f"/generate/{job_id}")

    def move(self, job_id: str, *, first: bool) -> None:
        self._app.call("POST", f"/generate/{job_id}/move", first=first)

    def clear(self) -> int:
        return int(self._app.call("DELETE", "/queue")["cancelled"])

    def pause(self, paused: bool) -> None:
        self._app.call("POST", "/queue/pause" if paused else "/queue/resume")


class _ClosedQueue:
    """The queue of a folder that no app has open: the app's dispatcher without runners."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def rows(self) -> tuple[bool, list[JobRow]]:
        views = self._dispatcher.progress.open_jobs()
        rows = [
            {"job": view.id, "state": str(view.state), "model": view.model, "prompt": view.prompt, "group": view.group}
            for view in views
        ]
        return self._dispatcher.progress.queue().paused, rows

    def state(self, job_id: str) -> str | None:
        view = self._dispatcher.view(job_id)
        return None if view is None else str(view.state)

    def cancel(self, job_id: str) -> None:
        self._dispatcher.stop([job_id])

    def move(self, job_id: str, *, first: bool) -> None:
        self._dispatcher.move(job_id, first=first)

    def clear(self) -> int:
        return self._dispatcher.clear(None)

    def pause(self, paused: bool) -> None:
        self._dispatcher.pause(paused)


_Queue = _AppQueue | _ClosedQueue


def add_jobs_command(commands: Any) -> None:
    """Add ``jobs`` and its actions to the program's commands."""
    parser = commands.add_parser(
        "jobs",
        help="list, cancel, reorder or pause what waits in the queue",
        description="List the jobs of the page and REST, in turn.",
    )
    parser.set_defaults(run=list_jobs)
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    add_outputs_flag(parser)
    actions = parser.add_subparsers(metavar="cancel|clear|up|pause|resume", parser_class=type(parser))
    cancel = actions.add_parser("cancel", description="Take jobs that wait out of the queue, and stop running ones.")
    cancel.set_defaults(run=cancel_jobs)
    cancel.add_argument("ids", metavar="JOB", nargs="*", help="as the list shows it")
    cancel.add_argument("--group", default="", help="all jobs of this group, as the list's JSON shows it")
    clear = actions.add_parser("clear", description="Take all jobs that wait out of the queue.")
    clear.set_defaults(run=clear_jobs)
    up = actions.add_parser("up", description="Let a waiting job run before the one before it.")
    up.set_defaults(run=move_job)
    up.add_argument("job", metavar="JOB", help="as the list shows it")
    up.add_argument("--first", action="store_true", help="before all that wait")
    pause = actions.add_parser("pause", description="Let no waiting job begin until 'jobs resume'.")
    pause.set_defaults(run=pause_jobs, paused=True)
    resume = actions.add_parser("resume", description="Let waiting jobs begin again.")
    resume.set_defaults(run=pause_jobs, paused=False)
    for action in (cancel, clear, up, pause, resume):
        add_outputs_flag(action, argparse.SUPPRESS)


def list_jobs(options: argparse.Namespace) -> int:
    """``jobs``: list the jobs in the order in which they run."""
    with _queue(options) as queue:
        paused, rows = queue.rows() if queue else (False, [])
    if options.json:
        print_json(rows)
        return 0
    if paused:
        notify(Text("The queue is paused; 'jobs resume' lets it go on.", "队列已暂停；可用 jobs resume 继续。"))
    if not rows:
        notify(Text("The queue is empty.", "队列为空。"))
        return 0
    print_table((column.to(language()) for column in _COLUMNS), map(_cells, rows))
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return row["job"], _STATES[row["state"]].to(language()), row["model"], shortened(row["prompt"], MAX_PROMPT)


def cancel_jobs(options: argparse.Namespace) -> int:
    """``jobs cancel``: cancel jobs; a running one stops before its next step."""
    if not options.ids and not options.group:
        raise RequestError("JOB, --group", Text("one of them must be given", "至少需要给出一个"))
    with _queue(options) as queue:
        rows = queue.rows()[1] if queue and options.group else []
        ids = [*options.ids, *(row["job"] for row in rows if row["group"] == options.group)]
        for job_id in ids:
            found, state = _known(queue, job_id)
            if state in FINAL:
                notify(Text(f"{job_id} is over already.", f"{job_id} 已经结束。"))
                continue
            found.cancel(job_id)
            if state == JobState.WAITING:
                notify(Text(f"{job_id} was cancelled.", f"{job_id} 已取消。"))
            else:
                notify(Text(f"{job_id} is being stopped.", f"正在停止 {job_id}。"))
        if options.group and not ids:
            notify(
                Text(
                    f"No job of the group {options.group} waits or runs.",
                    f"分组 {options.group} 中没有排队或进行中的任务。",
                )
            )
    return 0


def clear_jobs(options: argparse.Namespace) -> int:
    """``jobs clear``: cancel all waiting jobs."""
    with _queue(options) as queue:
        count = queue.clear() if queue else 0
    notify(
        Text(f"{count} waiting {'job was' if count == 1 else 'jobs were'} cancelled.", f"已取消 {count} 个排队任务。")
    )
    return 0


def move_job(options: argparse.Namespace) -> int:
    """``jobs up``: move a waiting job forward."""
    with _queue(options) as queue:
        found, state = _known(queue, options.job)
        if state != JobState.WAITING:
            raise RequestError("JOB", Text(f"{options.job} doesn't wait any more", f"{options.job} 已不在排队"))
        found.move(options.job, first=options.first)
    return 0


def pause_jobs(options: argparse.Namespace) -> int:
    """``jobs pause`` and ``jobs resume``: pause or resume the queue."""
    with _queue(options, make=True) as queue:
        assert queue is not None
        queue.pause(options.paused)
    if options.paused:
        notify(Text("The queue is paused; what runs is finished.", "队列已暂停；正在进行的任务会完成。"))
    else:
        notify(Text("The queue goes on.", "队列已继续。"))
    return 0


# Parts.


def _known(queue: _Queue | None, job_id: str) -> tuple[_Queue, str]:
    """The queue, and the state of a job in it; raises RequestError for an unknown id."""
    state = queue.state(job_id) if queue else None
    if queue is None or state is None:
        text = Text(f"{job_id} is not in the queue; 'jobs' lists what is", f"队列中没有 {job_id}；可用 jobs 命令查看")
        raise RequestError("JOB", text)
    return queue, state


@contextmanager
def _queue(options: argparse.Namespace, *, make: bool = False) -> Iterator[_Queue | None]:
    """The queue of the folder of pictures; None where it has no queue and ``make`` is false."""
    config = config_of(options)
    app = running_app(config.state)
    if app is not None:
        with closing(AppClient(app)) as client:
            yield _AppQueue(client)
        return
    if not make and not (config.state / STORE_NAME).is_file():
        yield None
        return
    with closing(_dispatcher(config)) as dispatcher:
        for warning in dispatcher.warnings:
            notify(warning)
        yield _ClosedQueue(dispatcher)


def _dispatcher(config: StudioConfig) -> Dispatcher:
    rules = JobRules(config.allowed, interrupted=config.interrupted)
    dispatcher = Dispatcher(config.state, Gallery(config.outputs), [], rules)
    dispatcher.start()
    return dispatcher
