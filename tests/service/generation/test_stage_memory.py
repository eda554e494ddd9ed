"""Stages from memory: the very pixels of a full run, whatever was run before; bounded, told, gone with the model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.service.generation.test_lora_runs import write
from tests.service.quick import finish
from zimage_app import load_generator
from zimage_app.domain.errors import RequestError
from zimage_app.domain.events import Cancelled, Event, Finished, StageDone, StepDone
from zimage_app.domain.plan_summary import timed_stages
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import CfgLimit, EasyCache, Nag, NegPip, Variance
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.engine.stage_memory import StageMemory, StageResult
from zimage_app.service.generation.generator import Generator
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

MEMORY = 2**20
FIRST = Stage(width=64, height=96, steps=2, cfg=2.0, sampler="euler_ancestral", scheduler="flow_match")
STAGES = (
    FIRST,
    Stage(width=96, height=128, steps=3, denoise=0.7, sampler="euler_ancestral", easycache=EasyCache(threshold=2.0)),
    Stage(width=128, height=160, steps=2, denoise=0.6, sampler="dpmpp_sde", scheduler="beta", shift=7.0),
)
REQUEST = GenerationRequest(prompt="a red boat", negative="云", seed=42, stages=STAGES)


@pytest.fixture(scope="module")
def config(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioConfig:
    loras = tmp_path_factory.mktemp("loras")
    write(loras / "ink.safetensors", 1)
    write(loras / "snow.safetensors", 7)
    outputs = tmp_path_factory.mktemp("outputs")
    return StudioConfig(models=models_dir, loras=loras, outputs=outputs, model="tiny", stage_memory=MEMORY)


@pytest.fixture
def generator(config: StudioConfig) -> Generator:
    """One that remembers nothing yet."""
    return load_generator("tiny", config)


@pytest.fixture(scope="module")
def forgetful(config: StudioConfig) -> Generator:
    """One that runs every stage."""
    return load_generator("tiny", replace(config, stage_memory=0))


@pytest.fixture(scope="module")
def pictures(config: StudioConfig) -> list[str]:
    """Two pictures that were handed in, and a mask for them."""
    draw, inputs = np.random.default_rng(3), PictureInputs(config.outputs)
    kept = []
    for number, shape in enumerate([(160, 128, 3), (160, 128, 3), (160, 128)]):
        path = config.outputs / f"{number}.png"
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(path)
        kept.append(inputs.save_file(path).sha256)
    return kept


def run(generator: Generator, request: GenerationRequest) -> list[Event]:
    events = list(generator.stream(request))
    assert isinstance(events[-1], Finished), events[-1]
    return events


def stages(events: list[Event]) -> list[StageDone]:
    return [event for event in events if isinstance(event, StageDone)]


def known(events: list[Event]) -> list[bool]:
    return [stage.from_memory for stage in stages(events)]


def same(one: list[Event], other: list[Event]) -> None:
    """All stages' pictures and counts, and the result."""
    for a, b in zip(stages(one), stages(other), strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)
        assert (a.stage, a.calls, a.skipped_calls) == (b.stage, b.calls, b.skipped_calls)
    assert isinstance(one[-1], Finished)
    assert isinstance(other[-1], Finished)
    np.testing.assert_array_equal(one[-1].picture, other[-1].picture)
    assert one[-1].record.request == other[-1].record.request


class Requests:
    """Makes up requests, each a little different from the one before, as somebody does who tries things out."""

    def __init__(self, seed: int, pictures: list[str]) -> None:
        self._draw = random.Random(seed)
        self._pictures = pictures
        self._last = REQUEST

    def one(self) -> GenerationRequest:
        """The next request."""
        maybe = self._maybe
        fresh = {
            "prompt": maybe("a red boat", "a boat at sea", 0.3),
            "negative": maybe("云", "", 0.3),
            "seed": maybe(42, 43, 0.3),
            "loras": tuple(self._lora(name) for name in ("ink", "snow") if self._draw.random() < 0.4),
            "start": self._start() if self._draw.random() < 0.4 else None,
        }
        update: dict[str, Any] = {name: value for name, value in fresh.items() if self._draw.random() < 0.1}
        changed = self._draw.choice((0, 1, 2, 2, 2))
        last = self._last.stages or ()
        update["stages"] = tuple(
            self._stage(STAGES[place]) if place == changed else stage for place, stage in enumerate(last)
        )
        self._last = self._last.model_copy(update=update)
        return self._last

    def _maybe(self, usual: Any, other: Any, chance: float) -> Any:
        return other if self._draw.random() < chance else usual

    def _stage(self, stage: Stage) -> Stage:
        first, maybe = stage is FIRST, self._maybe
        return stage.model_copy(
            update={
                "enabled": maybe(True, first, 0.1),
                "steps": maybe(stage.steps, stage.steps + 1, 0.1),
                "cfg": maybe(stage.cfg, 3.0, 0.1),
                "denoise": maybe(stage.denoise, 0.5, 0.1),
                "seed": maybe("follow", 7, 0.1),
                "upscale": maybe("nearest-exact", "bislerp", 0.1),
                "handover": maybe("resize", "resize" if first else "spectral", 0.3),
                "delta": 0.5,
                "easycache": maybe(stage.easycache, EasyCache(threshold=0.5, start=0.1), 0.1),
                "nag": maybe(None, Nag(), 0.15),
                "negpip": maybe(None, NegPip(), 0.1),
                "variance": maybe(None, Variance(), 0.1),
                "cfg_limit": maybe(None, CfgLimit(), 0.1),
            }
        )

    def _lora(self, name: str) -> LoraUse:
        acts = self._draw.choice((None, None, (1,), (2, 3), (3,)))
        return LoraUse(name=name, strength=self._maybe(0.8, 0.5, 0.2), stages=acts)

    def _start(self) -> StartPicture:
        masked = self._draw.random() < 0.5
        return StartPicture(
            picture=self._maybe(self._pictures[0], self._pictures[1], 0.3),
            stage=self._maybe(1, 2, 0.3),
            mask=self._pictures[2] if masked else None,
            feather=self._maybe(0, 8, 0.2),
            differential=self._maybe(None, 1.0, 0.2) if masked else None,
            paste=self._maybe(True, False, 0.3),
        )


def test_any_sequence_of_requests_gives_the_pixels_of_full_runs(
    generator: Generator, forgetful: Generator, pictures: list[str]
) -> None:
    requests = Requests(1, pictures)
    hits = spectral = 0
    for _ in range(50):
        request = requests.one()
        try:
            spectral += any(stage.takeover for stage in generator.plan(request).stages)
        except RequestError:  # a trajectory that can't go on there
            continue
        remembered = run(generator, request)
        hits += sum(known(remembered))
        full = run(forgetful, request)
        assert not any(known(full))
        same(remembered, full)
        assert generator._memory.size <= MEMORY
    assert hits > 15
    assert spectral


def test_a_change_of_the_last_stage_costs_the_last_stage(generator: Generator) -> None:
    asked: list[float] = []
    evaluation = generator._components.transformer.evaluation

    def counted(*given: Any) -> Any:
        evaluate = evaluation(*given)

        def one(x: torch.Tensor, sigma: float) -> torch.Tensor:
            asked.append(sigma)
            return evaluate(x, sigma)

        return one

    cast(Any, generator._components.transformer).evaluation = counted
    run(generator, REQUEST)
    whole = len(asked)
    asked.clear()
    changed = REQUEST.model_copy(update={"stages": (*STAGES[:2], STAGES[2].model_copy(update={"denoise": 0.3}))})
    events = run(generator, changed)
    assert known(events) == [True, True, False]
    assert len(asked) == 3 < whole
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2], "of the last stage alone"
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert [stage.from_memory for stage in finished.record.stages] == [True, True, False]
    assert len(timed_stages(finished.record)) == 1, "what took no time says nothing of the machine's pace"


def test_a_run_that_was_stopped_goes_on_behind_its_last_finished_stage(
    generator: Generator, forgetful: Generator
) -> None:
    events = generator.stream(REQUEST, lambda: len(seen) > 1)
    seen: list[Event] = []
    for event in events:
        if isinstance(event, StageDone):
            seen.append(event)
        last = event
    assert isinstance(last, Cancelled)
    again = run(generator, REQUEST)
    assert known(again) == [True, True, False]
    same(again, run(forgetful, REQUEST))


def test_a_stage_that_follows_the_last_one_begins_behind_it(generator: Generator, forgetful: Generator) -> None:
    run(generator, REQUEST)
    larger = REQUEST.model_copy(update={"stages": (*STAGES, Stage(width=160, height=192, steps=2, denoise=0.3))})
    events = run(generator, larger)
    assert known(events) == [True, True, True, False]
    same(events, run(forgetful, larger))


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "x"},
        {"negative": "x"},
        {"triggers": ("x",)},
        {"seed": 1},
        {"loras": (LoraUse(name="ink", stages=(1,)),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_the_first_stage_is_in_its_key(generator: Generator, change: dict[str, Any]) -> None:
    run(generator, REQUEST)
    assert not any(known(run(generator, REQUEST.model_copy(update=change))))


def test_a_lora_file_that_was_replaced_is_another(generator: Generator, config: StudioConfig) -> None:
    request = REQUEST.model_copy(update={"loras": (LoraUse(name="mine"),)})
    write(config.loras / "mine.safetensors", 11)
    first = run(generator, request)
    write(config.loras / "mine.safetensors", 12)
    second = run(generator, request)
    assert not any(known(second))
    assert (stages(first)[0].picture != stages(second)[0].picture).any()


def result(size: int) -> StageResult:
    latent = torch.zeros(size // 8)
    return StageResult(None, latent, latent, 0.0, 0, ())  # type: ignore[arg-type]


def test_what_was_not_used_for_longest_goes_first() -> None:
    memory = StageMemory(100)
    for key in "abc":
        memory.keep(key, result(40))
        memory.find("a")
    assert [key for key in "abc" if memory.find(key)] == ["a", "c"]
    assert memory.size == 80
    memory.keep("big", result(120))
    memory.keep("", result(8))
    assert memory.size == 80
    memory.keep("a", result(16))
    assert memory.size == 56


@pytest.fixture
def studio(config: StudioConfig) -> Iterator[Studio]:
    with closing(Studio(config)) as studio:
        yield studio


def test_the_jobs_view_tells_and_unloading_forgets(studio: Studio) -> None:
    def ask() -> list[bool]:
        view = finish(studio, studio.submit(REQUEST, "tiny"))
        assert view.state == "done"
        assert all(stage.preview for stage in view.stages), "previews as usual"
        return [stage.from_memory for stage in view.stages]

    assert ask() == [False, False, False]
    assert ask() == [True, True, False]
    studio.unload()
    assert ask() == [False, False, False]
