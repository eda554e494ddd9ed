"""A studio whose pictures are drawn by a formula in milliseconds: queue, files and faults are the real ones.

Run as a program it is an app that can be killed: see ``main``.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from zimage_app.domain.card import ModelCard
from zimage_app.domain.events import Cancelled, Event, Finished, Picture, StageDone, StageStarted, StepDone
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.record import ImageRecord, StageRecord, Surroundings, new_id
from zimage_app.domain.request import GenerationRequest, Stage
from zimage_app.domain.text import Text
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.group_orders import Asker, plan_grid, start
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, QueueView
from zimage_app.service.many.grids.axes import parse_axis
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import EventStream, Generator

MODEL = "demo"
PATIENCE = 120.0
"""Seconds that a test waits for what takes milliseconds on a machine that has nothing else to do."""


def quick_request(number: int, prompt: str = "船", steps: int = 3) -> GenerationRequest:
    """A small picture; ``number`` is its seed."""
    return GenerationRequest(
        prompt=f"{prompt} {number}", seed=number, stages=(Stage(width=64, height=64, steps=steps),)
    )


def drawn(seed: int, prompt: str, width: int = 64, height: int = 64) -> Picture:
    """The picture of a seed and a prompt."""
    digest = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    return np.random.default_rng(list(digest)).integers(0, 256, (height, width, 3), dtype=np.uint8)


class QuickGenerator:
    """Stands for a loaded model; ``pause`` seconds are slept before every step of the stages from ``slow_from`` on.

    A stop, or a shorter pause, ends the sleep.
    """

    about: tuple[Text, ...] = ()
    on_accelerator = False

    def __init__(self, card: ModelCard, pause: float) -> None:
        self.card = card
        self.pause = pause
        self.slow_from = 0
        self.failure: Callable[[Event], object] | None = None
        """Called with every event before it is given; may raise."""
        self._turn = threading.Lock()

    def stream(self, plan: GenerationPlan, cancelled: Callable[[], bool]) -> EventStream:
        """As ``Generator.stream``. Two runs at once are an error."""
        assert self._turn.acquire(blocking=False), "two runs at once on one device"
        try:
            for event in self._events(plan, cancelled):
                if self.failure is not None:
                    self.failure(event)
                yield event
        finally:
            self._turn.release()

    def draw(self, seed: int, prompt: str, width: int, height: int) -> Picture:
        """The picture of a stage."""
        return drawn(seed, prompt, width, height)

    def _events(self, plan: GenerationPlan, cancelled: Callable[[], bool]) -> EventStream:
        picture = np.zeros((8, 8, 3), np.uint8)
        for stage in plan.stages:
            yield StageStarted(stage)
            for step in range(1, stage.steps + 1):
                if cancelled():
                    yield Cancelled()
                    return
                self._sleep(stage.number, cancelled)
                yield StepDone(stage, step, np.zeros((8, 8, 3), np.uint8))
            size = stage.settings.width, stage.settings.height
            picture = self.draw(cast(int, plan.request.seed), plan.request.prompt, *size)
            yield StageDone(stage, picture, 0.01, stage.steps, ())
        yield Finished(picture, record_of(plan, self.card.name))

    def _sleep(self, stage: int, cancelled: Callable[[], bool]) -> None:
        begun = time.monotonic()
        while stage >= self.slow_from and (left := begun + self.pause - time.monotonic()) > 0 and not cancelled():
            time.sleep(min(left, 0.02))


def record_of(plan: GenerationPlan, model: str) -> ImageRecord:
    """What a picture of that plan remembers."""
    now = datetime.now(UTC).astimezone()
    last = plan.stages[-1].settings
    return ImageRecord(
        id=new_id(now, secrets.token_hex(4)),
        created=now,
        model=model,
        request=plan.request,
        width=last.width,
        height=last.height,
        seconds=0.01,
        stages=tuple(
            StageRecord(number=s.number, seed=s.seed, seconds=0.01, calls=s.steps, skipped_calls=0) for s in plan.stages
        ),
        surroundings=Surroundings(app="0", torch="none", device="cpu", dtype="float32", threads=1),
    )


class QuickStudio(Studio):
    """The real studio, but for the model."""

    def __init__(self, outputs: Path, pause: float = 0.0, **config: Any) -> None:
        super().__init__(StudioConfig(outputs=outputs, model=MODEL, offline=True, **config))
        self.generator = QuickGenerator(self.card(MODEL), pause)

    def _model(
        self, slot: ModelSlot, job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]
    ) -> Generator:
        del slot, job, tell, cancelled
        return cast("Generator", self.generator)


def finish(studio: Studio, job_id: str) -> JobView:
    """Wait for a job's end."""
    end = time.monotonic() + PATIENCE
    view = studio.wait(job_id, -1, 0.0)
    while not view.over:
        assert time.monotonic() < end, f"{view.id} is still {view.state}"
        view = studio.wait(job_id, view.version, 1.0)
    return view


def plan_of(request: GenerationRequest) -> GenerationPlan:
    """A request's plan, for what needs no studio."""
    return make_plan(request, ModelCard("quick", Text("Quick", "快速"), Text("Quick.", "快速。")))


def main(outputs: str, mode: str, first_seed: str) -> None:
    """``submit``: ask for pictures for ever and print each accepted job with its seed. ``finish``: make what is left in
    the queue, then end. ``grid``: ask for a grid of 8, print its id and make it until the program is killed."""
    studio = QuickStudio(Path(outputs), pause=0.01)
    studio.start()
    if mode == "finish":
        while studio.queue() != QueueView(0, 0):
            time.sleep(0.05)
        studio.close()
        return
    if mode == "grid":
        settings = {"prompt": "船", "stages": [{"width": 64, "height": 64, "steps": 9}]}
        asker = Asker("a" * 32, MODEL)
        many = plan_grid(studio, settings, [parse_axis("seed=1..8")], asker)
        sys.stdout.write(f"{start(studio, many, asker).id}\n")
        sys.stdout.flush()
        threading.Event().wait()
    for seed in itertools.count(int(first_seed)):
        job_id = studio.submit(quick_request(seed), MODEL, owner=f"{seed % 3}")
        sys.stdout.write(f"{job_id} {seed}\n")
        sys.stdout.flush()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
