"""LoRAs in real runs at toy size: stage by stage, exactly taken off, remembered with their hash."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.models.lora_support import low_rank, state
from zimage_app import load_generator
from zimage_app.domain.errors import LoraError, RequestError
from zimage_app.domain.events import Cancelled, Event, Failed, Finished, StageDone, StepDone, Warned
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.service.generation.generator import Generator
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

Pixels = NDArray[np.uint8]


def write(path: Path, seed: int, size: float = 4.0, module: str = "layers.0.attention.to_v") -> Path:
    """A LoRA of the tiny model that shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = low_rank(f"diffusion_model.{module}", (64, 64), 4, seed)
    tensors |= low_rank("diffusion_model.context_refiner.0.attention.to_v", (64, 64), 4, seed + 2)
    save_file({key: (size * tensor).contiguous() for key, tensor in tensors.items()}, path)
    return path


@pytest.fixture(scope="module")
def config(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioConfig:
    loras = tmp_path_factory.mktemp("loras")
    write(loras / "ink.safetensors", 1)
    write(loras / "style" / "snow.safetensors", 7)
    return StudioConfig(models=models_dir, loras=loras, outputs=tmp_path_factory.mktemp("outputs"), stage_memory=0)


@pytest.fixture(scope="module")
def loaded(config: StudioConfig) -> Generator:
    return load_generator("tiny", config)


@pytest.fixture
def generator(loaded: Generator) -> Iterator[Generator]:
    """The generator, whose weights must be as they were when all LoRAs are off again."""
    module = loaded._components.transformer.module
    loaded._lora_manager.switch(())
    before = state(module)
    yield loaded
    loaded._lora_manager.switch(())
    after = state(module)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def stages(generator: Generator, request: GenerationRequest, *uses: LoraUse) -> list[Pixels]:
    """Each stage's picture."""
    events = list(generator.stream(request.model_copy(update={"loras": uses})))
    assert isinstance(events[-1], Finished)
    return [event.picture for event in events if isinstance(event, StageDone)]


def same(one: Sequence[Pixels], other: Sequence[Pixels]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def test_a_lora_acts_in_its_stages_only(generator: Generator, small_request: GenerationRequest) -> None:
    none = stages(generator, small_request)
    everywhere = stages(generator, small_request, LoraUse(name="ink"))
    first = stages(generator, small_request, LoraUse(name="ink", stages=(1,)))
    second = stages(generator, small_request, LoraUse(name="ink", stages=(2,)))
    assert same(none, everywhere) == [False, False]
    assert same(first, everywhere) == [True, False]
    assert same(first, none) == [False, False]
    assert same(second, none) == [True, False]
    assert same(second, everywhere) == [False, False]
    assert same(stages(generator, small_request), none) == [True, True]
    assert same(stages(generator, small_request, LoraUse(name="ink", stages=(1, 2))), everywhere) == [True, True]
    assert same(stages(generator, small_request, LoraUse(name="ink", strength=0.0)), none) == [True, True]


def test_a_use_per_stage_is_a_strength_per_stage(generator: Generator, small_request: GenerationRequest) -> None:
    split = (LoraUse(name="ink", strength=1.0, stages=(1,)), LoraUse(name="ink", strength=-0.5, stages=(2,)))
    picture = stages(generator, small_request, *split)
    whole = stages(generator, small_request, LoraUse(name="ink"))
    assert same(picture, whole) == [True, False]
    half = LoraUse(name="ink", strength=0.5)
    for one, other in zip(stages(generator, small_request, half, half), whole, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2  # the sum is taken in another order


def test_several_loras_come_and_go_between_stages(generator: Generator, small_request: GenerationRequest) -> None:
    ink, snow = LoraUse(name="ink"), LoraUse(name="snow")
    mixed = stages(generator, small_request, ink.model_copy(update={"stages": (1,)}), snow)
    assert same(mixed, stages(generator, small_request, ink, snow)) == [True, False]
    assert same(mixed, stages(generator, small_request, snow)) == [False, False]


def test_a_tag_is_the_same_as_an_entry_of_the_list(generator: Generator, small_request: GenerationRequest) -> None:
    prompt = f"{small_request.prompt} <lora:snow:0.5:stages=2>"
    tagged = stages(generator, small_request.model_copy(update={"prompt": prompt}))
    listed = stages(generator, small_request, LoraUse(name="style/snow", strength=0.5, stages=(2,)))
    assert same(tagged, listed) == [True, True]


@pytest.mark.parametrize("after", [0, 2, 4, 5, 8])
def test_a_stop_leaves_everything_in_order(generator: Generator, small_request: GenerationRequest, after: int) -> None:
    uses = (LoraUse(name="ink", stages=(1,)), LoraUse(name="snow", stages=(2,)))
    request = small_request.model_copy(update={"loras": uses})
    wanted = stages(generator, request, *uses)
    asked = iter(range(99))
    events = list(generator.stream(request, lambda: next(asked) >= after))
    assert isinstance(events[-1], Cancelled)
    assert same(stages(generator, request, *uses), wanted) == [True, True]


def test_a_failure_between_stages_leaves_everything_in_order(
    generator: Generator, small_request: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = (LoraUse(name="ink", stages=(1,)), LoraUse(name="snow", stages=(2,)))
    wanted = stages(generator, small_request, *uses)
    merge = generator._lora_manager._merge
    calls = iter(range(99))

    def fail_once(*arguments: object) -> None:
        if next(calls) == 2:
            raise RequestError("test", wanted_text)
        merge(*arguments)  # type: ignore[arg-type]

    wanted_text = LoraUse.model_fields["name"].metadata[-1].title
    generator._lora_manager.switch(())
    monkeypatch.setattr(generator._lora_manager, "_merge", fail_once)
    events: list[Event] = list(generator.stream(small_request.model_copy(update={"loras": uses})))
    assert isinstance(events[-1], Failed)
    assert any(isinstance(event, StepDone) for event in events)
    monkeypatch.undo()
    assert same(stages(generator, small_request, *uses), wanted) == [True, True]


def test_a_broken_file_of_the_last_stage_fails_before_the_first(
    generator: Generator, config: StudioConfig, small_request: GenerationRequest
) -> None:
    save_file({"double_blocks.0.lora_A.weight": torch.zeros(2, 2)}, config.loras / "flux.safetensors")
    uses = (LoraUse(name="ink", stages=(1,)), LoraUse(name="flux", stages=(2,)))
    (failed,) = generator.stream(small_request.model_copy(update={"loras": uses}))
    assert isinstance(failed, Failed)
    assert "a Flux LoRA's" in failed.error.text.en


def test_the_record_holds_name_strength_stages_and_hash(
    generator: Generator, config: StudioConfig, small_request: GenerationRequest, tmp_path: Path
) -> None:
    use = LoraUse(name="snow.safetensors", strength=0.5, stages=(1,), triggers=("雪",))
    off = LoraUse(name="gone", strength=0.0)
    made = generator.generate(small_request.model_copy(update={"loras": (use, off), "prompt": "a <lora:ink>"}))
    record = read_record(made.save(tmp_path))
    digest = hashlib.sha256((config.loras / "style" / "snow.safetensors").read_bytes()).hexdigest()
    snow, other, ink = record.request.loras
    assert snow == use.model_copy(update={"name": "style/snow", "sha256": digest})
    assert other == off
    assert (ink.name, ink.strength, len(str(ink.sha256))) == ("ink", 1.0, 64)
    assert record.request.prompt == "a"
    text = record.parameters_text
    assert text.startswith("雪, a <lora:style/snow:0.5:stages=1> <lora:ink:1>\n")
    assert f'Hashes: {{"lora:style/snow": "{digest[:10]}", "lora:ink": "{str(ink.sha256)[:10]}"}}' in text


def test_another_file_of_the_same_name_is_told(
    config: StudioConfig, small_request: GenerationRequest, tmp_path: Path
) -> None:
    loras = tmp_path / "loras"
    shutil.copytree(config.loras, loras)
    generator = load_generator("tiny", StudioConfig(models=config.models, loras=loras))
    made = generator.generate(small_request.model_copy(update={"loras": (LoraUse(name="ink"),)}))
    again = list(generator.stream(made.record.request))
    assert not any(isinstance(event, Warned) for event in again)
    write(loras / "ink.safetensors", 3)
    events = list(generator.stream(made.record.request))
    (warned,) = (event for event in events if isinstance(event, Warned))
    (warning,) = warned.warnings
    old = str(made.record.request.loras[0].sha256)
    assert old[:10] in warning.en
    assert "ink is another file" in warning.en
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.record.request.loras[0].sha256 not in (None, old)
    assert not np.array_equal(finished.picture, np.asarray(made.image))


def test_the_queue_refuses_what_names_nothing_at_once(config: StudioConfig, small_request: GenerationRequest) -> None:
    studio = Studio(StudioConfig(models=config.models, loras=config.loras, model="tiny"))
    for prompt, kind, words in (
        ("a <lora:inc>", LoraError, "did you mean ink"),
        ("a <lora:ink:stages=3>", RequestError, "no stage 3"),
        ("a <lora:ink:9>", RequestError, "from -2 to 2"),
    ):
        with pytest.raises(kind, match=words):
            studio.submit(small_request.model_copy(update={"prompt": prompt}), "tiny")
    studio.close()


def test_files_are_read_once_while_their_stages_alternate(
    generator: Generator, small_request: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = (LoraUse(name="ink", stages=(1,)), LoraUse(name="snow", stages=(2,)))
    stages(generator, small_request, *uses)
    import zimage_app.models.lora.manager as module

    monkeypatch.setattr(module, "read_lora", None)
    assert len(stages(generator, small_request, *uses)) == 2
