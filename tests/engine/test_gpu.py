"""Everything between a request and its picture on a device that is not the CPU: nothing is left behind, or mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.fake_gpu import GPU, FakeGpu, MixUp, fake_gpu
from tests.models.lora_support import low_rank, write
from tests.models.packed_support import PACKERS, WIDE_CONFIG, write_packed
from tests.models.stock import normal
from zimage_app.domain.events import Event, Failed, Finished, StageDone, StepDone, Warned
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import EasyCache, Nag
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.engine import run as engine
from zimage_app.engine.inpaint import KeptRegion
from zimage_app.engine.preview import previewer
from zimage_app.engine.run import Series, run
from zimage_app.engine.samplers import SAMPLERS, Sampler, SamplerInput, SamplerRun
from zimage_app.models.components import Components
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.load.loader import load_components, load_transformer
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.networks import text_encoder
from zimage_app.models.networks.qwen3 import features
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.weights.packed_weights import packed_linears
from zimage_app.models.weights.placement import MemoryPlan

PLAN = MemoryPlan(GPU, torch.float32, Text("-", "-"))
ON_CPU = MemoryPlan(torch.device("cpu"), torch.float32, Text("-", "-"))
STREAMED = replace(PLAN, stream_text=True, streamed=2)
SIZE: dict[str, Any] = {"width": 64, "height": 96, "steps": 3}
REQUEST = GenerationRequest(
    prompt="a red boat",
    negative="云",
    seed=42,
    stages=(
        Stage(**SIZE, cfg=2.0, sampler="euler_ancestral", nag=Nag(scale=3.0)),
        Stage(width=96, height=128, steps=4, denoise=0.7, sampler="dpmpp_sde", scheduler="beta", easycache=EasyCache()),
    ),
)
MASKED = REQUEST.model_copy(update={"start": StartPicture(picture="0" * 64, mask="1" * 64)})


@pytest.fixture
def tiny_folder(models_dir: Path) -> Path:
    return models_dir / "tiny"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    with fake_gpu(monkeypatch) as gpu:
        yield gpu


def loaded(folder: Path, plan: MemoryPlan = PLAN) -> Components:
    return load_components(find_model(str(folder), folder.parent), plan)


def start_images() -> dict[int, StartImage]:
    def image(width: int, height: int) -> StartImage:
        mask = np.zeros((height, width), np.float32)
        mask[: height // 2] = 1.0
        return StartImage(np.full((height, width, 3), 90, np.uint8), mask)

    return {stage: image(96, 128) if stage else image(64, 96) for stage in (0, 1)}


def events_of(components: Components, request: GenerationRequest = REQUEST) -> list[Event]:
    plan = make_plan(request, components.card)
    start = start_images() if request.start is not None else {}
    return list(run(plan, components, lambda: False, start=start))


def pictures(events: list[Event]) -> list[Any]:
    assert isinstance(events[-1], Finished), events[-1]
    return [event.picture for event in events if isinstance(event, StageDone)]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("request_", [REQUEST, MASKED], ids=["plain", "masked"])
def test_a_run_is_the_same_wherever_its_weights_wait(tiny_folder: Path, request_: GenerationRequest) -> None:
    wanted = pictures(events_of(loaded(tiny_folder), request_))
    streamed = loaded(tiny_folder, STREAMED)
    parts: Any = streamed
    assert (parts.text.streamed, parts.transformer.streamed) == (2, 2)
    for found, picture in zip(pictures(events_of(streamed, request_)), wanted, strict=True):
        np.testing.assert_array_equal(found, picture)


@pytest.mark.usefixtures("gpu")
def test_texts_of_this_run_and_the_next_are_read_in_one_pass_of_streamed_weights(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass copies the whole text encoder to the device; what it gives is what single passes give."""
    passes: list[int] = []

    def counted(texts: Sequence[Tensor], *others: Any) -> list[Tensor]:
        passes.append(len(texts))
        return features(texts, *others)

    monkeypatch.setattr(text_encoder, "features", counted)
    resident, streamed = loaded(tiny_folder), loaded(tiny_folder, STREAMED)
    upcoming = [
        make_plan(REQUEST.model_copy(update={"prompt": prompt}), streamed.card)
        for prompt in ("a blue house", "红" * 2000, "a blue house", "a lake")
    ]
    plan, series = make_plan(REQUEST, streamed.card), Series(upcoming=upcoming)
    wanted = pictures(list(run(plan, resident, lambda: False, series=series)))
    assert passes == [1, 1], "weights on the device are not waited for"
    passes.clear()
    found = pictures(list(run(plan, streamed, lambda: False, series=series)))
    assert passes == [4], "prompt, negative prompt and the next two prompts; not the one that is too long"
    np.testing.assert_array_equal(found[-1], wanted[-1])
    for prompt in ("a blue house", "a lake"):
        assert torch.equal(streamed.text.encode(prompt), resident.text.encode(prompt))
    assert passes == [4, 1, 1]
    monkeypatch.setattr(text_encoder, "_REMEMBERED", 3)
    for prompt in ("one", "two", "three"):
        streamed.text.encode(prompt)
    passes.clear()
    streamed.text.encode_ahead(["four", "one"])
    for prompt in ("four", "one"):
        streamed.text.encode(prompt)
    assert passes == [1], "what is used soon is not forgotten first"


@pytest.mark.usefixtures("gpu")
def test_what_is_given_up_when_memory_runs_out_changes_no_picture(tiny_folder: Path) -> None:
    wanted, components = pictures(events_of(loaded(tiny_folder))), loaded(tiny_folder)
    transformer: Any = components.transformer
    shortages = iter([True, True, True])

    class Short(FastTransformer):
        def velocity(self, *given: Any) -> Tensor:
            if next(shortages, False):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().velocity(*given)

    transformer.__class__ = Short
    events = events_of(components)
    assert sum(isinstance(event, Warned) for event in events) == 3
    assert transformer.streamed == 2
    for found, picture in zip(pictures(events), wanted, strict=True):
        np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_works_on_the_gpu(gpu: FakeGpu, name: str) -> None:
    settings = Stage(**SIZE, sampler=name)
    sigmas = torch.tensor([0.9, 0.6, 0.3, 0.0])
    task = SamplerInput(lambda x, sigma: x * (1.0 - sigma), sigmas, settings, 7, settings.shift)
    x = torch.randn(1, 16, 12, 8).to(GPU)
    before = gpu.waits
    for step in SAMPLERS[name](task, x):
        assert step.denoised.device == GPU
    assert gpu.waits == before, "a step waits for the GPU"


def test_only_previews_and_easycache_are_waited_for(gpu: FakeGpu, tiny_folder: Path) -> None:
    components = loaded(tiny_folder)
    plain = Stage(**SIZE | {"steps": 6}, sampler="dpmpp_2m")
    request = GenerationRequest(prompt="a", seed=1, stages=(plain,))
    events_of(components, request)

    def waits(request: GenerationRequest) -> int:
        before = gpu.waits
        events_of(components, request)
        return gpu.waits - before

    steps, ends = 6, 3  # the stage's latent, what it shows, its picture
    assert waits(request) == steps + ends
    cached = plain.model_copy(update={"easycache": EasyCache(start=0.0, end=1.0)})
    assert waits(request.model_copy(update={"stages": (cached,)})) in range(steps + ends + 1, 2 * steps + ends)


def text_left_behind(components: Any) -> None:
    norm = components.text.module.layers[0].input_layernorm.weight
    norm.data = norm.data.cpu()


def transformer_left_behind(components: Any) -> None:
    token = components.transformer.module.x_pad_token
    token.data = token.data.cpu()


def vae_left_behind(components: Any) -> None:
    weight = components.codec.module.decoder.conv_in.weight
    weight.data = weight.data.cpu()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("plant", [text_left_behind, transformer_left_behind, vae_left_behind])
def test_weights_left_behind_are_noticed(tiny_folder: Path, plant: Callable[[Any], None]) -> None:
    components = loaded(tiny_folder)
    plant(components)
    with pytest.raises(MixUp, match="same device"):
        events_of(components)


@pytest.mark.usefixtures("gpu")
def test_previews_of_the_wrong_place_are_noticed(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "previewer", lambda factors, _: previewer(factors, torch.device("cpu")))
    with pytest.raises(MixUp, match="same device"):
        events_of(loaded(tiny_folder))


@pytest.mark.usefixtures("gpu")
def test_masks_of_the_wrong_place_are_noticed(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KeptRegion", lambda stage, mask, *others: KeptRegion(stage, mask.cpu(), *others))
    with pytest.raises(MixUp, match="same device"):
        events_of(loaded(tiny_folder), MASKED)


def velocity(fast: FastTransformer) -> Tensor:
    prompt = fast.prompt(normal(20, 32, seed=3))
    return fast.evaluation((8, 6), [prompt], [0.5])(normal(1, 16, 8, 6).to(GPU), 0.5)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("capability", [None, (7, 0)], ids=["plain", "packed"])
@pytest.mark.parametrize("streamed", [0, 1, 2])
def test_loras_work_on_weights_wherever_they_wait(
    tmp_path: Path, capability: tuple[int, int] | None, streamed: int
) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["fp8"][0])
    plan = replace(PLAN, capability=capability, streamed=streamed)
    fast, other = (
        load_transformer(path, WIDE_CONFIG, plan),
        load_transformer(path, WIDE_CONFIG, replace(plan, streamed=0)),
    )
    assert fast.streamed == streamed
    assert bool(packed_linears(fast.module)) == (capability is not None)
    before = velocity(fast)
    key = "diffusion_model.layers.{}.feed_forward.w1"
    tensors = low_rank(key.format(0), (512, 192)) | low_rank(key.format(1), (512, 192))
    managers = LoraManager(fast), LoraManager(other)
    for manager in managers:
        manager.apply([ResolvedLora(write(tmp_path, tensors), 0.8)])
    found = velocity(fast)
    assert torch.equal(found, velocity(other))
    assert not torch.equal(found, before)
    assert fast.offload() == (streamed < 2)
    assert torch.equal(velocity(fast), found)
    managers[0].apply([])
    assert torch.equal(velocity(fast), before)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("room", ["packed", "lora"])
def test_packed_weights_and_loras_of_the_wrong_place_are_noticed(tmp_path: Path, room: str) -> None:
    path = tmp_path / "packed.safetensors"
    write_packed(path, PACKERS["fp8"][0])
    fast = load_transformer(path, WIDE_CONFIG, replace(PLAN, capability=(7, 0)))
    LoraManager(fast).apply(
        [ResolvedLora(write(tmp_path, low_rank("diffusion_model.layers.0.feed_forward.w2", (192, 512))))]
    )
    linear: Any = packed_linears(fast.module)["layers.0.feed_forward.w2"]
    if room == "packed":
        linear.weight = replace(linear.weight, scale=torch.ones(192))
    else:
        linear.branch = replace(linear.branch, up=linear.branch.up.cpu())
    with pytest.raises(MixUp, match="same device"):
        velocity(fast)


def test_the_card_makes_the_cpus_picture(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler draws nothing on the device; the CPU decodes with the channels last, which rounds otherwise."""
    request = GenerationRequest(prompt="a red boat", seed=3, stages=(Stage(**SIZE, sampler="dpmpp_2m"),))
    (wanted,) = pictures(events_of(loaded(tiny_folder, ON_CPU), request))
    with fake_gpu(monkeypatch):
        (found,) = pictures(events_of(loaded(tiny_folder), request))
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_failure_is_no_mixture(tiny_folder: Path) -> None:
    """The refusals above are the fake GPU's: without it, the same plan finds no such device."""
    with pytest.raises(Exception, match=r"(?i)privateuse"):
        loaded(tiny_folder)
    assert not isinstance(events_of(loaded(tiny_folder, ON_CPU))[-1], Failed)


def test_previews_are_the_same_where_a_device_works_ahead(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for when the next step was asked for, and none is lost at the end of a stage."""
    asked: list[str] = []
    components: Any = loaded(tiny_folder, ON_CPU)

    def watched(sampler: Sampler) -> Sampler:
        def steps(task: SamplerInput, x: Tensor) -> SamplerRun:
            def denoise(x: Tensor, sigma: float) -> Tensor:
                if x.numel() > 1:  # else it is what finds the noise levels out
                    asked.append("evaluation")
                return task.denoise(x, sigma)

            return sampler(replace(task, denoise=denoise), x)

        return steps

    request = GenerationRequest(prompt="a", seed=1, stages=(Stage(**SIZE, sampler="euler"),))
    monkeypatch.setitem(SAMPLERS, "euler", watched(SAMPLERS["euler"]))

    def previews() -> list[tuple[int, Any]]:
        asked.clear()
        shown = []
        for event in run(make_plan(request, components.card), components, lambda: False):
            if isinstance(event, StepDone):
                asked.append("preview")
                shown.append((event.step, event.preview))
        return shown

    wanted = previews()
    assert asked == ["evaluation", "preview"] * 3
    monkeypatch.setattr(engine, "is_asynchronous", lambda _: True)
    found = previews()
    assert asked == ["evaluation", "evaluation", "preview", "evaluation", "preview", "preview"]
    assert [number for number, _ in found] == [1, 2, 3]
    for (_, one), (_, other) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
