"""``generate`` in the running app, so that no second copy of the model is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from zimage_app.cli.app_client import AppClient
from zimage_app.cli.request_flags import ResolvedCommand
from zimage_app.cli.terminal import notify
from zimage_app.domain.errors import GenerationError, ModelError, RequestError, StudioError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import look_up
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.jobs.folder_lock import RunningApp
from zimage_app.service.jobs.state import FINAL, JobState
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.settings import flag_of

_STARTUP_SETTINGS = ("device", "loras", "models_dir", "comfyui")
"""Settings that are fixed when the app starts."""

Task = dict[str, Any]
"""A task's state, as the app tells it."""


def generate_in_app(
    app: RunningApp, command: ResolvedCommand, options: argparse.Namespace, plan: GenerationPlan
) -> SavedPicture:
    """Let the running app make and save the picture. Ctrl+C cancels the task.

    Raises:
        RequestError: the app has another model of that name, or a flag was given that only works when the app starts.
        StudioError: the app refuses or ended, or the picture failed.
    """
    check_app_can_make(app, options, command.source, command.config)
    body = plan.request.model_dump(mode="json") | {"model": command.source.card.name}
    notify(Text(f"Made by the app running at {app.address}.", f"由正在 {app.address} 运行的程序生成。"))
    with closing(AppClient(app)) as client:
        task_id = client.call("POST", "/generate", body)["task_id"]
        try:
            with _bar() as show:
                task = follow(client, task_id, show)
        except KeyboardInterrupt:
            client.call("DELETE", f"/generate/{task_id}")
            raise
    return finished_picture(task, Gallery(command.config.outputs))


def check_app_can_make(app: RunningApp, options: argparse.Namespace, source: ModelSource, config: StudioConfig) -> None:
    """Raise RequestError for flags that only work when the app starts, and for a model that it doesn't have.

    The app gets only a model's name, and must find the same files by it.
    """
    if not _same_files(source, config):
        raise RequestError(
            "--model",
            Text(
                f"{source.folder} is not the model that the app running at {app.address} knows as"
                f" {source.card.name}; put it into the folder of models, or add --alone to make the picture in a"
                " process of its own",
                f"{source.folder} 不是正在 {app.address} 运行的程序中名为 {source.card.name} 的模型；"
                "请把它放入模型文件夹，或加 --alone 在独立进程中生成",
            ),
        )
    for name in _STARTUP_SETTINGS:
        if getattr(options, name, None) is not None:
            raise RequestError(
                flag_of(name),
                Text(
                    f"can't be told to the app that is running at {app.address}; leave it out, or add --alone to make"
                    " the picture in a process of its own",
                    f"无法传给正在 {app.address} 运行的程序；请去掉该选项，或加 --alone 在独立进程中生成",
                ),
            )


def _same_files(source: ModelSource, config: StudioConfig) -> bool:
    """Whether a model's name leads to its own files."""
    try:
        named = look_up(source.card.name, config.model_folders)
    except ModelError:
        return False
    return _files(named) == _files(source)


def _files(source: ModelSource) -> list[Path]:
    return [place.path.resolve() for place in source.places.by_name.values()]


def follow(
    client: AppClient, task_id: str, show: Callable[[Task], None], stopped: Callable[[], bool] = lambda: False
) -> Task:
    """Watch a task until it has ended; returns its final state. Cancels it once ``stopped`` returns True.

    Raises:
        StudioError: the app doesn't answer, or ended before the task.
    """
    task: Task = {}
    cancelled = False
    for task in client.events(task_id):
        show(task)
        if not cancelled and task["state"] not in FINAL and stopped():
            client.call("DELETE", f"/generate/{task_id}")
            cancelled = True
    if task.get("state") not in FINAL:
        raise StudioError(
            Text(
                "The app ended; the picture stays in its queue, and is made when the app runs again.",
                "程序已退出；图片仍在其队列中，程序再次运行时会生成。",
            )
        )
    return task


@contextmanager
def _bar() -> Iterator[Callable[[Task], None]]:
    """A progress bar, and the function that shows a task in it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=100.0)

        def show(task: Task) -> None:
            nonlocal shown
            progress.update(bar, description=task["message"], completed=task["progress"])
            for warning in task["warnings"][shown:]:
                progress.console.print(warning, markup=False, highlight=False, soft_wrap=True)
            shown = len(task["warnings"])

        yield show


def finished_picture(task: Task, gallery: Gallery) -> SavedPicture:
    """The picture of a finished task; raises GenerationError where there is none."""
    if (saved := find_finished_picture(task, gallery)) is not None:
        return saved
    if task.get("state") == JobState.DONE:
        raise GenerationError(
            Text(
                "The picture was made, but it is no longer there; make it again.",
                "图片已生成，但现已不存在；请重新生成。",
            )
        )
    problem = task.get("error") or task.get("message") or ""
    raise GenerationError(Text(problem, problem))


def find_finished_picture(task: Task, gallery: Gallery) -> SavedPicture | None:
    """The picture of a finished task; None if there is none, or if it was deleted since."""
    result = task.get("result")
    return gallery.find(result["id"]) if task.get("state") == JobState.DONE and result else None
