"""Shows a run's events as a progress bar on a terminal; prints nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from zimage_app.domain.events import Event, Failed, Finished, StageDone, StageStarted, StepDone, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Language, Text


def watch(events: Iterator[Event], plan: GenerationPlan, language: Language) -> Finished:
    """Show a run's progress until it is finished; returns the last event.

    Raises:
        StudioError: the run failed.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[where]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=plan.cost, where="")
        done = 0.0
        for event in events:
            match event:
                case Warned(warnings):
                    for warning in warnings:
                        progress.console.print(warning.to(language), markup=False, highlight=False, soft_wrap=True)
                case StageStarted(stage):
                    place = f"{stage.number + 1}/{plan.stages[-1].number + 1}"
                    size = f"{stage.settings.width}×{stage.settings.height}"
                    words = Text(f"stage {place} {size}", f"阶段 {place} {size}")
                    progress.update(task, description=words.to(language), where=f"0/{stage.steps}")
                case StepDone(stage, step):
                    part = stage.cost * step / stage.steps
                    progress.update(task, completed=done + part, where=f"{step}/{stage.steps}")
                case StageDone(stage):
                    done += stage.cost
                    progress.update(task, completed=done)
                case Finished():
                    return event
                case Failed(error):
                    raise error
    raise AssertionError("a run that is not cancelled ends in Finished or Failed")
