"""A studio with a fake generator that draws pictures in milliseconds; queue and files are real.

It can also be run as a program, for tests that kill an app: see ``main``.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from zimage_app.domain.card import ModelCard
from zimage_app.domain.events import Cancelled, Event, Finished, Picture, StageDone, StageStarted, StepDone
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord, new_id
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.group_orders import Requester, plan_grid, start
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, QueueView
from zimage_app.service.many.grids.axes import parse_axis
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import EventStream, Generator

MODEL = "demo"
PATIENCE = 120.0
"""Timeout in seconds; far more than needed on an idle machine."""


def quick_request(number: int, prompt: str = "船", steps: int = 3) -> GenerationRequest:
    """Return a request for a small picture with the seed ``number``."""
    return GenerationRequest(
        prompt=f"{prompt} {number}", seed=number, stages=(Stage(width=64, height=64, steps=steps),)
    )


def drawn(seed: int, prompt: str, width: int = 64, height: int = 64) -> Picture:
    """Return the picture of a seed and a prompt: random pixels that depend on both."""
    digest = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    return np.random.default_rng(list(digest)).integers(0, 256, (height, width, 3), dtype=np.uint8)


class QuickGenerator:
    """Fake generator; sleeps ``pause`` seconds before every step of the stages from ``slow_from`` on.

    Cancelling, or shortening ``pause``, ends the sleep.
    """

    about: tuple[Text, ...] = ()
    on_accelerator = False

    def __init__(self, card: ModelCard, pause: float) -> None:
        self.card = card
        self.pause = pause
        self.slow_from = 0
        self.failure: Callable[[Event], object] | None = None
        """Called with every event before it is yielded; may raise."""
        self._turn = threading.Lock()

    def stream(
        self, plan: GenerationPlan, cancelled: Callable[[], bool], upcoming: Sequence[GenerationPlan] = ()
    ) -> EventStream:
        """Like ``Generator.stream``; asserts that there is only one run at a time."""
        del upcoming
        assert self._turn.acquire(blocking=False), "two runs at once on one device"
        try:
            for event in self._events(plan, cancelled):
                if self.failure is not None:
                    self.failure(event)
                yield event
        finally:
            self._turn.release()

    def draw(self, seed: int, prompt: str, width: int, height: int) -> Picture:
        """Return the picture of a stage."""
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
    """Return a record for a picture of this plan."""
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
        surroundings=RunEnvironment(app="0", torch="none", device="cpu", dtype="float32", threads=1),
    )


class QuickStudio(Studio):
    """The real studio with a fake model."""

    def __init__(self, outputs: Path, pause: float = 0.0, **config: Any) -> None:
        super().__init__(StudioConfig(outputs=outputs, model=MODEL, offline=True, **config))
        self.generator = QuickGenerator(self.card(MODEL), pause)

    def _model(
        self, slot: ModelSlot, job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]
    ) -> Generator:
        del slot, job, tell, cancelled
        return cast("Generator", self.generator)


def finish(studio: Studio, job_id: str) -> JobView:
    """Wait until a job has ended; return its last view."""
    end = time.monotonic() + PATIENCE
    view = studio.wait(job_id, -1, 0.0)
    while not view.ended:
        assert time.monotonic() < end, f"{view.id} is still {view.state}"
        view = studio.wait(job_id, view.version, 1.0)
    return view


def plan_of(request: GenerationRequest) -> GenerationPlan:
    """Plan a request without a studio."""
    return make_plan(request, ModelCard("quick", Text("Quick", "快速"), Text("Quick.", "快速。")))


def main(outputs: str, mode: str, first_seed: str) -> None:
    """Run a studio until it is killed, or in the mode ``finish`` until the queue is empty.

    ``submit``: submits pictures for ever, and prints each job's id and seed. ``grid``: submits a grid of 8 pictures,
    and prints its id.
    """
    studio = QuickStudio(Path(outputs), pause=0.01)
    studio.start()
    if mode == "finish":
        while studio.queue() != QueueView(0, 0):
            time.sleep(0.05)
        studio.close()
        return
    if mode == "grid":
        settings = {"prompt": "船", "stages": [{"width": 64, "height": 64, "steps": 9}]}
        requester = Requester("a" * 32, MODEL)
        many = plan_grid(studio, settings, [parse_axis("seed=1..8")], requester)
        sys.stdout.write(f"{start(studio, many, requester).id}\n")
        sys.stdout.flush()
        threading.Event().wait()
    for seed in itertools.count(int(first_seed)):
        job_id = studio.submit(quick_request(seed), MODEL, owner=f"{seed % 3}")
        sys.stdout.write(f"{job_id} {seed}\n")
        sys.stdout.flush()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
