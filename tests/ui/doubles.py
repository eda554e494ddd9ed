"""A studio that draws gradients instead of pictures, at a speed of one's choice: for states that are hard to reach."""

from __future__ import annotations

import io
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from tests.service.lora_files import WIDTH
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import ModelError, StudioError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.record import ImageRecord, StageRecord, Surroundings, new_id
from zimage_app.domain.request import GenerationRequest, Stage
from zimage_app.domain.text import Text
from zimage_app.service.backend import Backend
from zimage_app.service.config import StudioConfig
from zimage_app.service.details import Section, details
from zimage_app.service.gallery import Gallery, owner_mark
from zimage_app.service.history import History
from zimage_app.service.inputs import PictureInputs
from zimage_app.service.loras import LoraEntry, LoraLibrary
from zimage_app.service.loras.sidecar import Notes
from zimage_app.service.models import ModelLibrary
from zimage_app.service.monitor import Monitor
from zimage_app.service.negatives import NegativeLibrary
from zimage_app.service.pace import Pace
from zimage_app.service.permissions import require_home
from zimage_app.service.presets import PresetLibrary
from zimage_app.service.slot import LoadedModel
from zimage_app.service.views import JobView, QueueView, SavedPicture, StageView
from zimage_app.service.wildcards import WildcardLibrary

QUICK = ModelCard(
    name="quick",
    title=Text("Quick gradients", "快速渐变"),
    description=Text("Draws gradients.", "只画渐变。"),
    stages=(Stage(width=176, height=224, steps=3, cfg=2.0), Stage(width=336, height=432, steps=3, cfg=2.0)),
    examples=("红色小船", "<b>bold</b> example"),
)
THREE = ModelCard(name="three", title=Text("Three stages", "三个阶段"), description=Text("As ComfyUI.", "同 ComfyUI。"))


class ScriptedStudio:
    """Jobs run one after another in a thread of their own; every model evaluation is a sleep."""

    default_model = "quick"

    def __init__(self, folder: Path, step_seconds: float = 0.02) -> None:
        self.step_seconds = step_seconds
        self.failure: StudioError | None = None
        """What the next jobs fail with, after their first stage."""
        self.loading: threading.Event | None = None
        """Jobs stay in the state ``loading`` until this is set."""
        self.loras = LoraLibrary(folder / "loras")
        self.models = ModelLibrary(StudioConfig(models=folder / "models", named_models=folder / "named", offline=True))
        self.gallery = Gallery(folder / "outputs")
        self.history = History(folder / "outputs")
        self.monitor = Monitor(folder)
        self.negatives = NegativeLibrary(folder / "negative")
        self.presets = PresetLibrary(folder / "presets")
        self.wildcards = WildcardLibrary(folder / "wildcards")
        self.pace = Pace(folder / "outputs")
        self.inputs = PictureInputs(folder / "outputs")
        self.shared = False
        self.borrows_gpu = False
        self.in_memory: LoadedModel | None = None
        self.device: str | None = None
        self.troubles: tuple[Text, ...] = ()
        """What is wrong with the app's own files."""
        self._folder = folder
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._views: dict[str, JobView] = {}
        self._cancelled: set[str] = set()
        self._pictures: list[SavedPicture] = []
        self._numbers = itertools.count(1)

    def settle(self) -> None:
        """Stop all jobs and be as new, but for the pictures."""
        shutil.rmtree(self.loras.folder, ignore_errors=True)
        self.loras.entries(refresh=True)
        self.failure = None
        self.step_seconds = 0.02
        if self.loading is not None:
            self.loading.set()
            self.loading = None
        with self._changed:
            self._cancelled.update(self._views)
            self._changed.wait_for(lambda: all(view.over for view in self._views.values()), 10)

    def warnings(self) -> tuple[Text, ...]:
        return self.troubles

    def queue(self) -> QueueView:
        with self._changed:
            states = [view.state for view in self._views.values() if not view.over]
        waiting = states.count("waiting")
        return QueueView(len(states) - waiting, waiting)

    def details(self) -> tuple[Section, ...]:
        config = StudioConfig(outputs=self._folder, models=self._folder)
        return details(config, self.monitor, self.in_memory, self.troubles)

    def loaded(self) -> LoadedModel | None:
        return self.in_memory

    def use_device(self, name: str | None) -> None:
        self.device = name

    def unload(self) -> None:
        self.in_memory = None

    def cards(self) -> tuple[ModelCard, ...]:
        return QUICK, THREE

    def card(self, name: str) -> ModelCard:
        for card in self.cards():
            if card.name == name:
                return card
        raise ModelError(Text(f"no model {name}", f"没有模型 {name}"))

    def width(self, model: str) -> int | None:
        self.card(model)
        return WIDTH

    def tokens(self, model: str, text: str) -> int | None:
        self.card(model)
        return len(text)

    def token_limit(self, model: str) -> int | None:
        self.card(model)
        return 1000

    def note_lora(self, name: str, notes: Notes) -> LoraEntry:
        require_home("notes", shared=self.shared)
        return self.loras.write_notes(name, notes)

    def submit(self, request: GenerationRequest, model: str, owner: str = "") -> str:
        card = self.card(model)
        plan = make_plan(request, card, lora_name=self.loras.name_of, wildcard=self.wildcards.lines)
        self.inputs.check(request.start)
        job_id = f"job{next(self._numbers)}"
        stages = tuple(StageView(s.number, s.settings.width, s.settings.height, s.steps) for s in plan.stages)
        with self._changed:
            ahead = sum(not view.over for view in self._views.values())
            self._views[job_id] = JobView(
                job_id, owner_mark(owner), model, ahead=ahead, stages=stages, warnings=plan.warnings, version=1
            )
        threading.Thread(target=self._run, args=(job_id, plan, owner), daemon=True).start()
        return job_id

    def view(self, job_id: str) -> JobView | None:
        with self._changed:
            return self._views.get(job_id)

    def wait(self, job_id: str, version: int, timeout: float) -> JobView:
        with self._changed:
            self._changed.wait_for(lambda: self._views[job_id].version > version, timeout)
            return self._views[job_id]

    def cancel(self, job_id: str) -> None:
        self._cancelled.add(job_id)

    def active(self, owner: str) -> str | None:
        with self._changed:
            mine = [view.id for view in self._views.values() if view.owner == owner_mark(owner) and not view.over]
        return mine[-1] if mine else None

    def today(self, owner: str = "", limit: int = 24) -> tuple[SavedPicture, ...]:
        del owner
        return tuple(reversed(self._pictures))[:limit]

    def picture(self, picture_id: str, owner: str = "") -> SavedPicture | None:
        if self.shared:
            return self.history.find(picture_id, owner)
        made = next((each for each in self._pictures if each.record.id == picture_id), None)
        return made or self.history.find(picture_id, owner)

    def _run(self, job_id: str, plan: GenerationPlan, owner: str) -> None:
        while not self._turn.acquire(timeout=0.02):
            if job_id in self._cancelled:
                self._set(job_id, state="cancelled")
                return
        try:
            self._set(job_id, state="loading", ahead=0, loading=Text("loading: weights", "正在加载：权重"))
            if self.loading is not None:
                self.loading.wait()
            self._set(job_id, state="running", loading=None)
            for _ in self._steps(job_id, plan):
                if job_id in self._cancelled:
                    self._set(job_id, state="cancelled")
                    return
                time.sleep(self.step_seconds)
            self._finish(job_id, plan, owner)
        finally:
            self._turn.release()

    def _steps(self, job_id: str, plan: GenerationPlan) -> Iterator[None]:
        total = sum(stage.steps for stage in plan.stages)
        done = 0
        for place, stage in enumerate(plan.stages):
            for step in range(1, stage.steps + 1):
                yield
                done += 1
                last = step == stage.steps
                jpeg = _gradient(*stage.latent_size, done)
                views = list(self._views[job_id].stages)
                views[place] = replace(views[place], step=step, preview=jpeg, seconds=0.1 if last else None)
                left = (total - done) * self.step_seconds
                self._set(job_id, stages=tuple(views), current=place, progress=done / total, remaining=left)
            if self.failure is not None:
                return

    def _finish(self, job_id: str, plan: GenerationPlan, owner: str) -> None:
        if self.failure is not None:
            self._set(job_id, state="failed", error=self.failure)
            return
        record = _record(plan, self._views[job_id], f"{next(self._numbers):08x}")
        image = Image.effect_mandelbrot((record.width, record.height), (-2, -1.5, 1, 1.5), 20).convert("RGB")
        picture = self.gallery.save(np.asarray(image), record, owner)
        self._pictures.append(picture)
        self._set(job_id, state="done", progress=1.0, picture=picture)

    def _set(self, job_id: str, **changes: object) -> None:
        with self._changed:
            view = self._views[job_id]
            self._views[job_id] = replace(view, version=view.version + 1, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()


def finish(studio: Backend, job_id: str) -> JobView:
    """Wait for a job's end."""
    view = studio.wait(job_id, 0, 30)
    while not view.over:
        view = studio.wait(job_id, view.version, 30)
    return view


def _gradient(height: int, width: int, turn: int) -> bytes:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    picture = np.stack([np.roll(np.tile(ramp, (height, 1)), turn * 3, axis=1)] * 3, axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG")
    return buffer.getvalue()


def _record(plan: GenerationPlan, view: JobView, nonce: str) -> ImageRecord:
    now = datetime.now(UTC)
    last = plan.stages[-1].settings
    return ImageRecord(
        id=new_id(now, nonce),
        created=now,
        model=view.model,
        request=plan.request,
        width=last.width,
        height=last.height,
        seconds=0.2,
        stages=tuple(
            StageRecord(number=s.number, seed=s.seed, seconds=0.1, calls=s.steps, skipped_calls=0) for s in plan.stages
        ),
        surroundings=Surroundings(app="0", torch="none", device="cpu", dtype="float32", threads=1),
    )
