"""The real studio with two models whose pictures are drawn by a formula, at a speed of one's choice."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from tests.service.lora_files import WIDTH
from tests.service.quick import PATIENCE, QuickGenerator, finish
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import LoadingCancelled, ModelError, StudioError
from zimage_app.domain.events import Event, Picture, StageDone
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.domain.vocabulary import Vocabulary
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.model_slot import LoadedModel, ModelSlot
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import QueueView
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.setup.config import ROOT, StudioConfig
from zimage_app.service.studio import Studio

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import Generator

__all__ = ["QUICK", "THREE", "QuickPageStudio", "finish"]

QUICK = ModelCard(
    name="quick",
    title=Text("Quick gradients", "快速渐变"),
    description=Text("Draws gradients.", "只画渐变。"),
    stages=(Stage(width=176, height=224, steps=3, cfg=2.0), Stage(width=336, height=432, steps=3, cfg=2.0)),
    examples=("红色小船", "<b>bold</b> example"),
)
THREE = ModelCard(
    name="three",
    title=Text("Three stages", "三个阶段"),
    description=Text("As ComfyUI.", "同 ComfyUI。"),
    vocabulary=Vocabulary(frozenset({"boat", "红色", "小船", "图", "片"}), Text("boats", "小船")),
)


class _Gradients(QuickGenerator):
    """Draws the same picture for every seed; a few kilobytes as PNG."""

    def draw(self, seed: int, prompt: str, width: int, height: int) -> Picture:
        """See ``QuickGenerator.draw``."""
        del seed, prompt
        return np.asarray(Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 20).convert("RGB"))


class QuickPageStudio(Studio):
    """Queue, files and history are the real ones."""

    def __init__(self, folder: Path, step_seconds: float = 0.02, *, shared: bool = False) -> None:
        config = StudioConfig(
            outputs=folder / "outputs",
            models=folder / "models",
            shipped=ROOT / "models" / "demo",
            named_models=folder / "named",
            loras=folder / "loras",
            presets=folder / "presets",
            negatives=folder / "negative",
            wildcards=folder / "wildcards",
            offline=True,
            shared=shared,
        )
        super().__init__(config)
        self.default_model = QUICK.name
        self.gallery = Gallery(config.outputs)
        self.failure: StudioError | None = None
        """What the next jobs fail with, after their first stage."""
        self.loading: threading.Event | None = None
        """Jobs stay in the state ``loading`` until this is set, or they are cancelled."""
        self.in_memory: LoadedModel | None = None
        self.chosen_device: str | None = None
        self.troubles: tuple[Text, ...] = ()
        """What is wrong with the app's own files."""
        self.generators = {card.name: _Gradients(card, step_seconds) for card in self.cards()}
        for generator in self.generators.values():
            generator.failure = self._fail

    @property
    def step_seconds(self) -> float:
        """What every model evaluation takes."""
        return self.generators[QUICK.name].pause

    @step_seconds.setter
    def step_seconds(self, seconds: float) -> None:
        for generator in self.generators.values():
            generator.pause = seconds

    def slow_from(self, stage: int) -> None:
        """Let steps take that long in the stages from this one on, counted from 0."""
        for generator in self.generators.values():
            generator.slow_from = stage

    def settle(self) -> None:
        """Stop all jobs and be as new, but for the pictures."""
        shutil.rmtree(self.loras.folder, ignore_errors=True)
        self.loras.entries(refresh=True)
        self.failure = None
        self.step_seconds = 0.02
        self.slow_from(0)
        if self.loading is not None:
            self.loading.set()
            self.loading = None
        for view in self._jobs.progress.open_jobs():
            self.cancel(view.id)
            finish(self, view.id)
        if self.queue() != QueueView(0, 0):
            self.pause_queue(False)

    def warnings(self) -> tuple[Text, ...]:
        """See ``Studio``, here and below."""
        return (*super().warnings(), *self.troubles)

    def loaded(self) -> LoadedModel | None:
        return self.in_memory

    def unload(self) -> None:
        super().unload()
        self.in_memory = None

    def cards(self) -> tuple[ModelCard, ...]:
        return QUICK, THREE

    def card(self, name: str) -> ModelCard:
        for card in self.cards():
            if card.name == name:
                return card
        raise ModelError(Text(f"no model {name}", f"没有模型 {name}"))

    def _source(self, name: str) -> ModelSource:
        return replace(find_model("demo", self._config.model_folders), card=self.card(name))

    def width(self, model: str) -> int | None:
        self.card(model)
        return WIDTH

    def tokens(self, model: str, text: str) -> int | None:
        self.card(model)
        return len(text)

    def token_limit(self, model: str) -> int | None:
        self.card(model)
        return 1000

    def _model(
        self, slot: ModelSlot, job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]
    ) -> Generator:
        del slot
        tell(Text("loading: weights", "正在加载：权重"))
        gate, end = self.loading, time.monotonic() + PATIENCE
        while gate is not None and not gate.wait(0.02):
            if cancelled():
                raise LoadingCancelled
            assert time.monotonic() < end
        return cast("Generator", self.generators[job.model])

    def _fail(self, event: Event) -> None:
        if self.failure is not None and isinstance(event, StageDone):
            raise self.failure
