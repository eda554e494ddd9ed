"""``generate`` by the running app, so that no second copy of the model is loaded."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from zimage_app.cli.app_client import AppClient
from zimage_app.cli.request_flags import ResolvedCommand
from zimage_app.cli.terminal import tell
from zimage_app.domain.errors import GenerationError, RequestError
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.service.jobs.folder_lock import RunningApp
from zimage_app.service.jobs.state import JobState
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture

_APPS_OWN = {"device": "--device", "loras": "--loras", "models_dir": "--models-dir", "comfyui": "--comfyui"}
"""Flags whose values are fixed when the app starts."""


def generate_there(
    app: RunningApp, command: ResolvedCommand, options: argparse.Namespace, plan: GenerationPlan
) -> SavedPicture:
    """Let the running app make and save the picture. Ctrl+C cancels the task.

    Raises:
        RequestError: a flag was given that only works when the app starts.
        StudioError: the app refuses, or the picture failed.
    """
    refuse_apps_own(app, options)
    body = plan.request.model_dump(mode="json") | {"model": command.source.card.name}
    tell(Text(f"Made by the app running at {app.address}.", f"由正在 {app.address} 运行的程序生成。"))
    with closing(AppClient(app)) as client:
        task_id = client.call("POST", "/generate", body)["task_id"]
        try:
            task = _follow(client, task_id)
        except KeyboardInterrupt:
            client.call("DELETE", f"/generate/{task_id}")
            raise
    return saved_there(task, Gallery(command.config.outputs))


def refuse_apps_own(app: RunningApp, options: argparse.Namespace) -> None:
    """Raise RequestError for flags that only work when the app starts."""
    for name, flag in _APPS_OWN.items():
        if getattr(options, name, None) is not None:
            raise RequestError(
                flag,
                Text(
                    f"can't be told to the app that is running at {app.address}; leave it out, or add --alone to make"
                    " the picture in a process of its own",
                    f"无法传给正在 {app.address} 运行的程序；请去掉该选项，或加 --alone 在独立进程中生成",
                ),
            )


def _follow(client: AppClient, task_id: str) -> dict[str, Any]:
    """Show a progress bar until the task ends; returns its last state."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    task: dict[str, Any] = {}
    shown = 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=100.0)
        for task in client.events(task_id):
            progress.update(bar, description=task["message"], completed=task["progress"])
            for warning in task["warnings"][shown:]:
                progress.console.print(warning, markup=False, highlight=False, soft_wrap=True)
            shown = len(task["warnings"])
    return task


def saved_there(task: dict[str, Any], gallery: Gallery) -> SavedPicture:
    """The picture of a finished task; raises GenerationError where there is none."""
    if task.get("state") == JobState.DONE and (saved := gallery.find(task["result"]["id"])) is not None:
        return saved
    problem = task.get("error") or task.get("message") or ""
    raise GenerationError(Text(problem, problem))
