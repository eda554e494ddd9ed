"""The two ways to make the pictures of a batch: with a model in this process, or in the running app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from zimage_app.cli.app_client import AppClient
from zimage_app.cli.hand_over import Task, find_finished_picture, finished_picture, follow
from zimage_app.cli.saving import save
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Cancelled, Failed, Finished, StageDone, StepDone, Warned
from zimage_app.domain.text import Text
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import inputs_of
from zimage_app.service.jobs.folder_lock import RunningApp
from zimage_app.service.jobs.state import JobState
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.many.batch.items import BatchItem
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.setup.config import StudioConfig


@dataclass(frozen=True, slots=True)
class MakeCallbacks:
    """Callbacks with which a batch follows and stops the picture that is being made."""

    progress: Callable[[float], None]
    """Called with the picture's progress, 0…1."""
    stopped: Callable[[], bool]
    """Called before every model evaluation, or once a second; returns whether to stop."""
    warn: Callable[[str], None]
    """Called with each warning of the run, in the user's language; the app repeats earlier ones."""


class TaskCancelled(GenerationError):
    """The picture was cancelled in the running app's queue; the batch continues with the others."""

    def __init__(self) -> None:
        super().__init__(Text("Taken out of the app's queue.", "已从程序的队列中移除。"))


class Maker(Protocol):
    """Makes one picture after another inside its context."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

    def make(
        self, item: BatchItem, manifest: Manifest, callbacks: MakeCallbacks, upcoming: Sequence[BatchItem] = ()
    ) -> SavedPicture | None:
        """Make and save a picture; None where it was stopped. ``upcoming``: the items that are made next.

        Raises GenerationError where it failed, and of these TaskCancelled where only this picture was cancelled.
        """
        ...


class LocalMaker:
    """Makes pictures with a model in this process."""

    def __init__(self, source: ModelSource, config: StudioConfig, gallery: Gallery) -> None:
        self._source = source
        self._config = config
        self._gallery = gallery
        self._generator: Any = None

    def __enter__(self) -> Self:
        from zimage_app.service.generation.generator import load_options, load_source  # imports torch: seconds

        config = self._config
        self._generator = load_source(
            self._source,
            LoraLibrary(*config.lora_folders),
            load_options(config),
            WildcardLibrary(*config.wildcard_folders).lines,
            inputs_of(config),
        )
        for text in self._generator.about:
            notify(text)
        return self

    def __exit__(self, *error: object) -> None:
        self._generator = None

    def make(
        self, item: BatchItem, manifest: Manifest, callbacks: MakeCallbacks, upcoming: Sequence[BatchItem] = ()
    ) -> SavedPicture | None:
        """See ``Maker``. The manifest notes the picture's id before its file is written."""
        from zimage_app.service.pictures.stage_pictures import keep_stages

        done = 0.0
        events = self._generator.stream(item.plan, callbacks.stopped, [each.plan for each in upcoming])
        for event in keep_stages(events, item.plan, self._gallery):
            match event:
                case StepDone(stage, step):
                    callbacks.progress((done + stage.cost * step / stage.steps) / item.plan.cost)
                case StageDone(stage):
                    done += stage.cost
                case Warned(warnings):
                    for warning in warnings:
                        callbacks.warn(warning.to(language()))
                case Failed(error):
                    raise error
                case Cancelled():
                    return None
                case Finished(picture, record):
                    manifest.add("saving", item.key, index=item.index, id=item.id, picture=record.id)
                    return save(self._gallery, picture, record)
        raise AssertionError("a run ends in Finished, Failed or Cancelled")


class AppMaker:
    """Makes pictures by calls of the running app."""

    def __init__(self, app: RunningApp, model: str, group: str, gallery: Gallery) -> None:
        self._client = AppClient(app)
        self._model = model
        self._group = group
        self._gallery = gallery

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def make(
        self, item: BatchItem, manifest: Manifest, callbacks: MakeCallbacks, upcoming: Sequence[BatchItem] = ()
    ) -> SavedPicture | None:
        """See ``Maker``. A task from before the batch was killed is followed rather than queued again."""
        del upcoming  # the app sees only the jobs in its queue
        task_id = self._queued_before(item, manifest)
        if task_id is None:
            settings = item.plan.request.model_dump(mode="json")
            task_id = self._client.call("POST", "/generate", settings | {"model": self._model, "group": self._group})[
                "task_id"
            ]
            manifest.add("asked", item.key, index=item.index, id=item.id, task=task_id)

        def show(task: Task) -> None:
            callbacks.progress(task["progress"] / 100.0)
            for warning in task["warnings"]:
                callbacks.warn(warning)

        task = follow(self._client, task_id, show, callbacks.stopped)
        if task["state"] == JobState.CANCELLED:
            if callbacks.stopped():
                return None
            raise TaskCancelled
        return finished_picture(task, self._gallery)

    def _queued_before(self, item: BatchItem, manifest: Manifest) -> str | None:
        line = manifest.last.get(item.key)
        if line is None or line["state"] != "asked" or "task" not in line:
            return None
        task = self._client.call("GET", f"/generate/{line['task']}")
        gone = task is None or task["state"] in (JobState.CANCELLED, JobState.FAILED)
        if not gone and task["state"] == JobState.DONE:  # its picture may have been deleted since
            gone = find_finished_picture(task, self._gallery) is None
        return None if gone else str(line["task"])
