"""The queue and its one worker: jobs in, snapshots out. Knows no page; a face only submits, watches and cancels."""

from __future__ import annotations

import io
import logging
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime

from PIL import Image

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import GenerationError, LoadingCancelled, RequestError, StorageError, StudioError
from zimage_app.domain.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    Picture,
    StageDone,
    StageStarted,
    StepDone,
    Warned,
)
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.sources import ModelSource
from zimage_app.models.spec import find_model, list_models
from zimage_app.service.config import StudioConfig
from zimage_app.service.defaults import default_model
from zimage_app.service.details import Section, details
from zimage_app.service.gallery import Gallery
from zimage_app.service.limits import check_plan
from zimage_app.service.history import History
from zimage_app.service.loras import LoraEntry, LoraLibrary
from zimage_app.service.loras.sidecar import Notes
from zimage_app.service.loras.width import transformer_width
from zimage_app.service.models import ModelLibrary
from zimage_app.service.monitor import Monitor
from zimage_app.service.negatives import NegativeLibrary
from zimage_app.service.presets import PresetLibrary
from zimage_app.service.slot import LoadedModel, ModelSlot
from zimage_app.service.tokens import TokenCounter
from zimage_app.service.views import JobView, QueueView, SavedPicture, StageView
from zimage_app.service.wildcards import WildcardLibrary

log = logging.getLogger(__name__)

MAX_WAITING = 50
"""Jobs that may wait at once."""
_KEPT_JOBS = 200
"""Jobs that are over and still remembered, so that a page that comes back finds its run."""


@dataclass
class _Job:
    plan: GenerationPlan
    view: JobView
    cancelled: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    done_cost: float = 0.0
    """Cost of the stages that are over."""

    @property
    def total_cost(self) -> float:
        return sum(stage.cost for stage in self.plan.stages)


class Studio:
    """Everything that the faces need. Importing and constructing it loads no model and starts no thread."""

    def __init__(self, config: StudioConfig) -> None:
        self._config = config
        self._gallery = Gallery(config.outputs)
        self.loras = LoraLibrary(config.loras)
        self.models = ModelLibrary(config)
        self.monitor = Monitor(config.outputs)
        self.history = History(config.outputs, shared=config.shared)
        self.negatives = NegativeLibrary(config.negatives)
        self.presets = PresetLibrary(config.presets)
        self.wildcards = WildcardLibrary(config.wildcards)
        self._tokens = TokenCounter()
        self.shared = config.shared
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._owners: dict[str, str] = {}
        self._worker: threading.Thread | None = None
        self._closing = False
        self._slot = ModelSlot(self.loras)
        self.default_model = find_model(default_model(config), config.shelves).card.name

    def cards(self) -> tuple[ModelCard, ...]:
        """The models that are on this machine."""
        sources = [source for source in list_models(self._config.shelves) if source.present]
        names = {source.card.name for source in sources}
        if self._config.model is not None:
            chosen = find_model(self._config.model, self._config.shelves)
            sources += [] if chosen.card.name in names else [chosen]
        return tuple(source.card for source in sources)

    def card(self, name: str) -> ModelCard:
        """The card of a model; raises ModelError for one that isn't here."""
        return self._source(name).card

    def _source(self, name: str) -> ModelSource:
        given = self._config.model
        if given is not None and (source := find_model(given, self._config.shelves)).card.name == name:
            return source
        return find_model(name, self._config.shelves)

    def width(self, model: str) -> int | None:
        """How wide a model's transformer is; raises ModelError for a model that isn't here."""
        return transformer_width(self._source(model))

    def note_lora(self, name: str, notes: Notes) -> LoraEntry:
        """Keep the user's own words on a LoRA beside it; gives it as it is then.

        Raises:
            LoraError: there is no such LoRA, or its folder can't be written to.
            StorageError: strangers can reach the page, who may not write.
        """
        if self._config.shared:
            raise StorageError(Text("On a shared page, notes can't be changed.", "公开分享的页面上不能修改备注。"))
        return self.loras.write_notes(name, notes)

    def tokens(self, model: str, text: str) -> int | None:
        """How many tokens a text is to a model; None where that isn't known.

        Raises:
            ModelError: the model isn't here.
        """
        return self._tokens.count(self._source(model), text)

    def submit(self, request: GenerationRequest, model: str, owner: str = "") -> str:
        """Queue a request; gives the job's id.

        Raises:
            StudioError: the request cannot be planned, the model isn't here, too many jobs wait, or the app is closing.
        """
        plan = make_plan(request, self.card(model), lora_name=self.loras.name_of, wildcard=self.wildcards.lines)
        check_plan(plan, self._config.allowed)
        stages = tuple(
            StageView(stage.number, stage.settings.width, stage.settings.height, stage.steps) for stage in plan.stages
        )
        view = JobView(id=secrets.token_hex(8), owner=owner, model=model, stages=stages, warnings=plan.warnings)
        job = _Job(plan, view)
        with self._changed:
            if self._closing:
                raise GenerationError(Text("The app is closing; start it again.", "程序正在退出，请重新启动。"))
            if len(self._waiting) >= MAX_WAITING:
                raise GenerationError(
                    Text(
                        f"{MAX_WAITING} pictures are waiting already; try again when some are done.",
                        f"已有 {MAX_WAITING} 个任务在排队，请稍后再试。",
                    )
                )
            self._jobs[view.id] = job
            self._waiting.append(job)
            self._renumber()
            self._forget_old()
            self._wake()
        return view.id

    def view(self, job_id: str) -> JobView | None:
        """The job as it is now, or None for an id that isn't known (any more)."""
        with self._changed:
            job = self._jobs.get(job_id)
            return None if job is None else _timed(job)

    def wait(self, job_id: str, version: int, timeout: float) -> JobView:
        """Wait up to ``timeout`` seconds for a view newer than ``version``; gives the newest either way."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                raise RequestError("job", Text(f"{job_id} is not known", f"找不到任务 {job_id}"))
            self._changed.wait_for(lambda: job.view.version > version or job.view.over, timeout)
            return _timed(job)

    def cancel(self, job_id: str) -> None:
        """Stop a job, waiting or running. Returns at once; a running one ends before its next model evaluation."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None or job.view.over:
                return
            job.cancelled.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._update(job, state="cancelled")
                self._renumber()

    def active(self, owner: str) -> str | None:
        """This owner's newest job that is not over."""
        with self._changed:
            return next(
                (id_ for id_, job in reversed(self._jobs.items()) if job.view.owner == owner and not job.view.over),
                None,
            )

    def today(self, owner: str = "", limit: int = 24) -> tuple[SavedPicture, ...]:
        """Today's pictures, newest first."""
        today = datetime.now().astimezone().date()
        mine = (picture for picture in self._gallery.of_day(today) if self._may_see(picture.record.id, owner))
        return tuple(picture for _, picture in zip(range(limit), mine, strict=False))

    def picture(self, picture_id: str, owner: str = "") -> SavedPicture | None:
        """A saved picture, or None where there is none that this owner may see."""
        return self._gallery.find(picture_id) if self._may_see(picture_id, owner) else None

    def _may_see(self, picture_id: str, owner: str) -> bool:
        return not self._config.shared or self._owners.get(picture_id) == owner

    def loaded(self) -> LoadedModel | None:
        """The model that is in memory."""
        return self._slot.loaded()

    def queue(self) -> QueueView:
        """How much there is to do, for everybody together."""
        with self._changed:
            return QueueView(int(self._running is not None), len(self._waiting))

    def details(self) -> tuple[Section, ...]:
        """Versions, model, machine and folders, for a bug report."""
        return details(self._config, self.monitor, self.loaded())

    def unload(self) -> None:
        """Free the model's memory; the next picture loads it again.

        Raises:
            GenerationError: a picture is being made with it.
        """
        with self._changed:
            # A job that has just ended still holds the model for a moment.
            self._changed.wait_for(lambda: self._running is None or not self._running.view.over, timeout=5.0)
            if self._running is not None:
                raise GenerationError(
                    Text(
                        "The model is at work; stop the picture or wait until it is done, then unload.",
                        "模型正在使用中；请先停止或等待当前图片完成，再卸载模型。",
                    )
                )
            self._slot.clear()

    def close(self) -> None:
        """Stop the running job, take the waiting ones back, and end the worker."""
        with self._changed:
            self._closing = True
            for job in self._jobs.values():
                job.cancelled.set()
            while self._waiting:
                self._update(self._waiting.popleft(), state="cancelled")
            self._changed.notify_all()
        self.models.close()
        if self._worker is not None:
            self._worker.join(timeout=5.0)
        self.history.close()

    # The worker's side.

    def _wake(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="studio-worker", daemon=True)
            self._worker.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    return
                job = self._running = self._waiting.popleft()
                self._update(job, ahead=0)
                self._renumber()
            self._guarded(job)
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _guarded(self, job: _Job) -> None:
        """The one place where anything that goes wrong is caught, so that the next job still runs."""
        try:
            self._run(job)
        except LoadingCancelled:
            self._set(job, state="cancelled")
        except StudioError as error:
            self._set(job, state="failed", error=error)
        except Exception:
            log.exception("job %s failed", job.view.id)
            problem = Text(
                "Something went wrong inside the app; the log says what. Please report it.",
                "程序内部出错，详情见日志，欢迎反馈。",
            )
            self._set(job, state="failed", error=GenerationError(problem))

    def _run(self, job: _Job) -> None:
        job.started = time.monotonic()
        generator = self._slot.model(
            self._source(job.view.model),
            lambda text: self._set(job, state="loading", loading=text),
            job.cancelled.is_set,
        )
        job.started = time.monotonic()
        self._set(job, state="running", loading=None)
        for event in generator.stream(job.plan, job.cancelled.is_set):
            self._take(job, event)

    def _take(self, job: _Job, event: Event) -> None:
        match event:
            case Warned():
                self._set(job, warnings=job.view.warnings + event.warnings)
            case StageStarted():
                self._set(job, current=job.plan.stages.index(event.stage))
            case StepDone():
                self._step_done(job, event)
            case StageDone():
                self._stage_done(job, event)
            case Finished():
                self._owners[event.record.id] = job.view.owner
                owner = job.view.owner if self._config.shared else ""
                saved = self._gallery.save(event.picture, event.record, owner)
                self._set(job, state="done", progress=1.0, picture=saved)
            case Failed():
                self._set(job, state="failed", error=event.error)
            case Cancelled():
                self._set(job, state="cancelled")

    def _step_done(self, job: _Job, event: StepDone) -> None:
        part = event.step / event.stage.steps
        progress = (job.done_cost + part * event.stage.cost) / job.total_cost
        self._set_stage(job, progress=min(progress, 0.995), step=event.step, preview=_jpeg(event.preview))

    def _stage_done(self, job: _Job, event: StageDone) -> None:
        job.done_cost += event.stage.cost
        self._set_stage(
            job,
            progress=min(job.done_cost / job.total_cost, 0.995),
            step=event.stage.steps,
            seconds=event.seconds,
            preview=_jpeg(event.picture),
        )

    def _set_stage(
        self, job: _Job, *, progress: float, step: int, preview: bytes, seconds: float | None = None
    ) -> None:
        with self._changed:
            stages = list(job.view.stages)
            stages[job.view.current] = replace(stages[job.view.current], step=step, preview=preview, seconds=seconds)
            self._update(job, stages=tuple(stages), progress=progress)

    def _set(self, job: _Job, **changes: object) -> None:
        with self._changed:
            self._update(job, **changes)

    def _update(self, job: _Job, **changes: object) -> None:
        """Call with the lock held."""
        timed = _timed(job) if changes.get("state") in ("done", "failed", "cancelled") else job.view
        if isinstance(error := changes.get("error"), StudioError):
            _forget_frames(error)
        job.view = replace(timed, version=job.view.version + 1, **changes)  # type: ignore[arg-type]
        self._changed.notify_all()

    def _renumber(self) -> None:
        """Call with the lock held: tell every waiting job how many run before it."""
        for place, job in enumerate(self._waiting):
            ahead = place + (self._running is not None)
            if job.view.ahead != ahead:
                self._update(job, ahead=ahead)

    def _forget_old(self) -> None:
        over = [id_ for id_, job in self._jobs.items() if job.view.over]
        for id_ in over[: max(0, len(over) - _KEPT_JOBS)]:
            del self._jobs[id_]


def _timed(job: _Job) -> JobView:
    """The view with its clock read."""
    if job.started is None or job.view.over:
        return job.view
    elapsed = time.monotonic() - job.started
    progress = job.view.progress
    remaining = elapsed * (1.0 - progress) / progress if progress > 0.02 and job.view.state == "running" else None
    return replace(job.view, elapsed=elapsed, remaining=remaining)


def _forget_frames(error: StudioError) -> None:
    """Drop the traceback: a remembered job would keep its frames, and with them latents and a whole model."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _jpeg(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
