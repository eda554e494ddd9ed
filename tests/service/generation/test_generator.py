"""A loaded model that makes pictures: the same ones every time, one at a time, stoppable."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from zimage_app import load_generator
from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Event, Failed, Finished, StageDone, StageStarted, StepDone
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.generation.generator import Generator
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig


@pytest.fixture(scope="module")
def config(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioConfig:
    return StudioConfig(models=models_dir, outputs=tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def generator(config: StudioConfig) -> Generator:
    return load_generator("tiny", config)


def last(events: list[Event]) -> Event:
    return events[-1]


def test_events_come_in_order(generator: Generator, small_request: GenerationRequest) -> None:
    events = list(generator.stream(small_request))
    kinds = [type(event) for event in events]
    stage = [StageStarted, StepDone, StepDone, StepDone, StageDone]
    assert kinds == [*stage, *stage, Finished]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [step.step for step in steps] == [1, 2, 3, 1, 2, 3]
    assert [step.preview.shape for step in steps[:4:3]] == [(12, 8, 3), (24, 16, 3)]
    done = [event for event in events if isinstance(event, StageDone)]
    assert [stage.picture.shape for stage in done] == [(96, 64, 3), (192, 128, 3)]
    assert [stage.calls for stage in done] == [6, 5]  # cfg 2 with unequal prompts: 2 × 3; dpmpp_sde: 2 × 2 + 1
    finished = events[-1]
    assert isinstance(finished, Finished)
    np.testing.assert_array_equal(finished.picture, done[-1].picture)


def test_the_same_request_gives_the_same_pixels(
    generator: Generator, config: StudioConfig, small_request: GenerationRequest, tmp_path: Path
) -> None:
    first = generator.generate(small_request)
    assert first.image.size == (128, 192)
    again = load_generator("tiny", config).generate(small_request)
    remade = generator.generate(read_record(first.save(tmp_path)).request)
    for other in (again, remade):
        np.testing.assert_array_equal(np.asarray(first.image), np.asarray(other.image))
    other_seed = generator.generate(small_request.model_copy(update={"seed": 43}))
    assert (np.asarray(first.image) != np.asarray(other_seed.image)).mean() > 0.5


def test_a_random_seed_is_remembered(generator: Generator, small_request: GenerationRequest) -> None:
    drawn = generator.generate(small_request.model_copy(update={"seed": "random"}))
    assert isinstance(drawn.record.request.seed, int)
    remade = generator.generate(drawn.record.request)
    np.testing.assert_array_equal(np.asarray(drawn.image), np.asarray(remade.image))


def test_runs_at_once_wait_for_one_another(generator: Generator, small_request: GenerationRequest) -> None:
    requests = [small_request.model_copy(update={"seed": seed}) for seed in range(4)]
    alone = [np.asarray(generator.generate(request).image) for request in requests]
    together: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        together[number] = np.asarray(generator.generate(requests[number]).image)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, picture in enumerate(alone):
        np.testing.assert_array_equal(picture, together[number])


def test_each_event_may_be_fetched_by_another_thread(generator: Generator, small_request: GenerationRequest) -> None:
    wanted = np.asarray(generator.generate(small_request).image)
    events = generator.stream(small_request)
    taken: list[Event] = []
    while not (taken and isinstance(taken[-1], Finished)):
        thread = threading.Thread(target=lambda: taken.append(next(events)))
        thread.start()
        thread.join()
    finished = taken[-1]
    assert isinstance(finished, Finished)
    np.testing.assert_array_equal(finished.picture, wanted)
    assert not torch.is_inference_mode_enabled()


def test_a_dropped_stream_frees_the_model(generator: Generator, small_request: GenerationRequest) -> None:
    events = generator.stream(small_request)
    next(events)
    events.close()
    assert generator.generate(small_request).image.size == (128, 192)


def test_values_that_are_not_finite_are_never_a_picture(config: StudioConfig, small_request: GenerationRequest) -> None:
    broken = load_generator("tiny", config)
    module: Any = broken._components.transformer.module
    with torch.no_grad():
        module.layers[0].feed_forward.w2.weight[0, 0] = float("nan")
    events = list(broken.stream(small_request))
    failure = last(events)
    assert isinstance(failure, Failed)
    assert failure.error.text.en.startswith("Stage 1 gave")
    assert "damaged model file" in failure.error.text.en
    with pytest.raises(GenerationError, match="not finite"):
        broken.generate(small_request)


def test_a_lora_that_is_not_there_is_named(generator: Generator, small_request: GenerationRequest) -> None:
    request = GenerationRequest.model_validate(
        small_request.model_dump() | {"loras": ({"name": "missing", "strength": 0.8},)}
    )
    failure = last(list(generator.stream(request)))
    assert isinstance(failure, Failed)
    assert "missing" in failure.error.text.en


def too_large(latent: torch.Tensor) -> torch.Tensor:
    """Ask for more memory than any machine has."""
    return torch.empty(2**52).sum() + latent


def test_memory_that_runs_out_is_a_sentence(
    generator: Generator, config: StudioConfig, small_request: GenerationRequest
) -> None:
    codec: Any = SimpleNamespace(decode=too_large, decode_tiled=too_large)
    components = replace(generator._components, codec=codec)
    failure = last(list(Generator(components, LoraLibrary(config.loras)).stream(small_request)))
    assert isinstance(failure, Failed)
    assert "ran out of memory when asked for 18014398509481984 bytes" in failure.error.text.en
    assert "\n" not in failure.error.text.en
