"""The generation loop: takes a plan and a loaded model, yields events. Independent of files, queue and page."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

from zimage_app.domain.errors import GenerationError, RequestError, StudioError
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
from zimage_app.domain.guidance import reads_negative
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord, new_id
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__
from zimage_app.engine.guidance.model import GuidedModel, Modes
from zimage_app.engine.guidance.rule import StageTexts, TextFeatures
from zimage_app.engine.handover import HANDOVERS
from zimage_app.engine.handover.resize import resized
from zimage_app.engine.inpaint import KeptRegion, latent_mask, pasted
from zimage_app.engine.memory_savings import MemorySavings, with_savings, without_events
from zimage_app.engine.noise import initial_noise, interpolated_noise, prefetched_noise
from zimage_app.engine.preview import previewer, to_picture
from zimage_app.engine.samplers import SAMPLERS, Denoiser, ExpectedCalls, SamplerInput, expected_calls
from zimage_app.engine.stage_memory import StageMemory, StageResult, remembered, stage_keys
from zimage_app.engine.start import encoded, to_vae_space
from zimage_app.models.components import AttentionGuidance, Components, Evaluation, PreparedPrompt
from zimage_app.models.device import is_asynchronous, make_current

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class _Stopped(Exception):
    """The run was cancelled. Raised between two model evaluations, so that cancelling doesn't wait for a step."""


PrepareStage = Callable[[StagePlan], bool]
"""Called before a stage to apply the stage's LoRAs to the model; returns whether that changed the weights."""
StartImages = Mapping[int, StartImage]
"""Stage number -> the start picture, for the stages that use it."""
NO_START_IMAGES: StartImages = MappingProxyType({})


def keep_model(stage: StagePlan) -> bool:
    """The default ``PrepareStage``: leaves the model unchanged."""
    del stage
    return False


@dataclass(frozen=True, slots=True)
class Series:
    """What a run shares with the runs before and after it."""

    memory: StageMemory = field(default_factory=lambda: StageMemory(0))
    """Stage results that are reused instead of running their stages; new ones are stored there. Belongs to a model."""
    upcoming: Sequence[GenerationPlan] = ()
    """The plans that run next; their texts are encoded together with this run's if that saves time."""


@torch.inference_mode()
def run(
    plan: GenerationPlan,
    components: Components,
    cancelled: Callable[[], bool],
    prepare: PrepareStage = keep_model,
    start: StartImages = NO_START_IMAGES,
    series: Series | None = None,
) -> Iterator[Event]:
    """Run a plan and yield its events; the last one is Finished, Failed or Cancelled.

    ``start`` holds the plan's start picture for the first stage, and for later stages if part of it is kept by a mask.
    ``cancelled`` is called before every model evaluation.

    ``inference_mode`` decorates the generator instead of being entered inside it, because the mode is thread-local and
    each ``next`` may come from another thread.
    """
    started = time.perf_counter()
    make_current(components.transformer.device)
    work = _Run(plan, components, cancelled, prepare, start, series or Series(), MemorySavings(components))
    made = None
    done: list[StageRecord] = []
    try:
        for item in work.stages():
            if not isinstance(item, StageResult):
                yield item
                continue
            decoding = time.perf_counter()
            made = yield from work.decoded(item)
            if plan.request.start is not None and plan.request.start.paste and item.stage.number in start:
                made = pasted(made, start[item.stage.number])
            seconds = item.seconds + time.perf_counter() - decoding
            done.append(_stage_record(item, seconds))
            yield StageDone(item.stage, made, seconds, item.calls, item.skipped_calls, item.from_memory)
        assert made is not None
        surroundings = _run_environment(components, work.savings)
        yield Finished(
            made, _record(plan, components.card.name, tuple(done), surroundings, time.perf_counter() - started)
        )
    except _Stopped:
        yield Cancelled()
    except StudioError as error:
        yield Failed(error)


@torch.inference_mode()
def sample(
    plan: GenerationPlan,
    components: Components,
    cancelled: Callable[[], bool],
    start: StartImages = NO_START_IMAGES,
) -> Iterator[StageStarted | StepDone | StageResult | Warned]:
    """Run the stages and yield their latents without decoding them.

    Raises:
        GenerationError: a stage's latent holds values that are not finite, or memory ran out and no saving is left.
    """
    yield from _Run(plan, components, cancelled, keep_model, start, Series(), MemorySavings(components)).stages()


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a plan, with the objects that it uses."""

    plan: GenerationPlan
    components: Components
    cancelled: Callable[[], bool]
    prepare: PrepareStage
    start: StartImages
    series: Series
    savings: MemorySavings
    keys: dict[int, str] = field(default_factory=dict)
    """Stage number -> the stage's key in the memory of stages."""

    def stages(self) -> Iterator[StageStarted | StepDone | StageResult | Warned]:
        """Yield the stages' events and results in order; results found in memory come first."""
        plan, components, savings = self.plan, self.components, self.savings
        if (plan.request.start is None) != (plan.stages[0].number not in self.start):
            raise ValueError("a start picture goes with a plan that asks for one")
        keys = stage_keys(plan)
        self.keys.update(zip((stage.number for stage in plan.stages), keys, strict=True))
        latent = None
        known = remembered(self.series.memory, plan, keys)
        for result in known:
            if self.cancelled():
                raise _Stopped
            latent = result.latent
            yield StageStarted(result.stage)
            yield result
        left = plan.stages[len(known) :]
        texts = yield from with_savings(
            partial(without_events, partial(_encode_texts, left, plan, components, self.series.upcoming)), savings
        )
        pictures: dict[int, Tensor] = {}
        for stage in left:
            image = self.start.get(stage.number)
            if image is not None and image.picture is not None:
                encode = partial(encoded, image.picture, components)
                pictures[stage.number] = yield from with_savings(partial(without_events, encode), savings)
        begin = _InitialLatents(plan, components, self.start, pictures)
        model = _Model(components, texts, self.prepare, self.cancelled, begin)
        if not known:
            latent = pictures.get(plan.stages[0].number)
        for stage in left:
            result = yield from with_savings(partial(model.stage, stage, latent), savings)
            latent = result.latent
            _check_finite(latent, stage, plan)
            self.series.memory.keep(self.keys[stage.number], result)
            yield result

    def decoded(self, result: StageResult) -> Generator[Warned, None, Picture]:
        """Return a stage's picture; a picture found in memory isn't decoded again."""
        if result.picture is not None:
            return result.picture
        made = yield from with_savings(
            partial(without_events, partial(_decoded, result, self.savings)), self.savings, decoding=True
        )
        if not self.savings.tiled:  # a tiled decode may differ slightly in colour, so it isn't reused
            self.series.memory.keep(self.keys[result.stage.number], replace(result, picture=made, from_memory=False))
        return made


class _Model:
    """The loaded model during one run; caches prompts refined by the current stage's weights."""

    def __init__(
        self,
        components: Components,
        texts: dict[int, StageTexts],
        prepare: PrepareStage,
        cancelled: Callable[[], bool],
        initial_latents: _InitialLatents,
    ) -> None:
        self._components = components
        self._texts = texts
        self._prepare = prepare
        self._cancelled = cancelled
        self._beginning = initial_latents
        self._prompts: dict[TextFeatures, PreparedPrompt] = {}

    def stage(self, stage: StagePlan, before: Tensor | None) -> Generator[StageStarted | StepDone, None, StageResult]:
        """Run one stage from the previous stage's latent, in VAE space. May be called again after an error."""
        if self._cancelled():
            raise _Stopped
        yield StageStarted(stage)
        started = time.perf_counter()
        try:
            settings = stage.settings
            expected = expected_calls(settings.sampler, stage.sigmas, settings, settings.shift)
            guided = self._guided(stage, expected.levels)
            x, kept = self._beginning.of(stage, before)
            denoise = guided if kept is None else kept.around(guided)
            final, shown = yield from _steps(stage, denoise, (x, expected), self._components)
        except BaseException:
            self._prompts.clear()  # the weights may have changed by the time the stage is run again
            raise
        latent, shown = (to_vae_space(each, self._components.latent).cpu() for each in (final, shown))
        seconds = time.perf_counter() - started
        return StageResult(stage, latent, shown, seconds, guided.calls, tuple(guided.skipped_calls))

    def _guided(self, stage: StagePlan, levels: Sequence[float]) -> GuidedModel:
        if self._prepare(stage):
            self._prompts.clear()
        settings = stage.settings
        modes = Modes(stage, self._texts[stage.number], levels, self._prompt, partial(self._evaluation, stage))
        return GuidedModel(modes, settings.cfg, self._components.transformer.dtype)

    def _prompt(self, text: TextFeatures) -> PreparedPrompt:
        """Return the text refined by the transformer's current weights; cached."""
        if text not in self._prompts:
            prompt = self._components.transformer.prompt
            self._prompts[text] = _naming_field(
                text.field, lambda given: prompt(given, text.value_scale), text.features
            )
        return self._prompts[text]

    def _evaluation(
        self,
        stage: StagePlan,
        prompts: Sequence[PreparedPrompt],
        sigmas: Sequence[float],
        guidance: AttentionGuidance | None,
    ) -> Evaluation:
        try:
            evaluate = self._components.transformer.evaluation(stage.latent_size, prompts, sigmas, guidance)
        except RequestError as error:
            raise error.at(f"stages.{stage.number}.{error.field}") from error

        def stoppable(x: Tensor, sigma: float) -> Tensor:
            if self._cancelled():
                raise _Stopped
            return evaluate(x, sigma)

        return stoppable


def _decoded(result: StageResult, savings: MemorySavings) -> Picture:
    """Decode a stage's latent; raises GenerationError if decoded values are not finite."""
    picture = savings.decode(result.shown)
    if not bool(torch.isfinite(picture).all()):
        number = result.stage.number + 1
        raise GenerationError(
            Text(
                f"Decoding stage {number} gave values that are not finite, so there is no picture: the VAE's file is"
                " damaged, or the device computes its number format wrongly; check the model's files, or choose another"
                " dtype.",
                f"解码第 {number} 阶段时出现非有限数值，无法成图：VAE 文件损坏，或设备对该数值格式计算有误；"
                "请检查模型文件或更换 dtype。",
            )
        )
    return to_picture(picture)


def _texts(stages: Iterable[StagePlan], plan: GenerationPlan) -> Iterator[str]:
    """Yield the texts that these stages of a plan use."""
    for stage in stages:
        yield stage.text
        if reads_negative(stage.settings):
            yield plan.request.negative
        yield from (phrase.text for phrase in stage.phrases)


def _encode_texts(
    stages: Sequence[StagePlan], plan: GenerationPlan, components: Components, upcoming: Sequence[GenerationPlan]
) -> dict[int, StageTexts]:
    """Encode the texts of each stage, by stage number; stages with the same text share one object.

    The features don't depend on the transformer's weights, so LoRAs don't change them.
    """
    later = (text for each in upcoming for text in _texts(each.stages, each))
    components.text.encode_ahead(chain(_texts(stages, plan), later))

    @cache
    def features(field: str, text: str) -> TextFeatures:
        return TextFeatures(field, _naming_field(field, components.text.encode, text))

    def texts(stage: StagePlan) -> StageTexts:
        negative = features("negative", plan.request.negative) if reads_negative(stage.settings) else None
        phrases = tuple((features("negative", phrase.text).features, phrase.weight) for phrase in stage.phrases)
        return StageTexts(features("prompt", stage.text), negative, phrases)

    return {stage.number: texts(stage) for stage in stages}


def _naming_field(field: str, work: Callable[[_Given], _Made], given: _Given) -> _Made:
    """Return ``work(given)``; a RequestError that it raises gets ``field`` as its field."""
    try:
        return work(given)
    except RequestError as error:
        raise error.at(field) from error


@dataclass(frozen=True, slots=True)
class _InitialLatents:
    """Builds each stage's initial latent and the part of the picture that the stage keeps."""

    plan: GenerationPlan
    components: Components
    start: StartImages
    pictures: Mapping[int, Tensor]
    """Stage number -> the start picture's latent, in VAE space."""

    def of(self, stage: StagePlan, before: Tensor | None) -> tuple[Tensor, KeptRegion | None]:
        """Return (initial latent in model space on the model's device, kept part or None); ``before``: VAE space."""
        height, width = stage.latent_size
        shape = (1, len(self.components.preview.factors), height, width)
        noise = initial_noise(shape, stage.noise_seed)
        if stage.variation is not None:
            seed, strength = stage.variation
            noise = interpolated_noise(noise, initial_noise(shape, seed), strength)
        latent = torch.zeros(shape) if before is None else before
        x = HANDOVERS[stage.handover](latent, noise, stage, self.components.latent)
        kept = self._kept(stage, self.pictures.get(stage.number, latent), noise)
        return x.to(self.components.transformer.device), kept

    def _kept(self, stage: StagePlan, latent: Tensor, noise: Tensor) -> KeptRegion | None:
        start, image = self.plan.request.start, self.start.get(stage.number)
        if start is None or image is None or image.mask is None:
            return None
        if stage.takeover and stage.number not in self.pictures:
            raise ValueError("what a trajectory keeps must be known at every size")
        device, form = self.components.transformer.device, self.components.latent
        mask = latent_mask(image.mask, stage.latent_size).to(device)
        kept = resized(latent, stage, form).to(device)
        return KeptRegion(stage, mask, kept, noise.to(device), start.differential)


def _steps(
    stage: StagePlan, denoise: Denoiser, begin: tuple[Tensor, ExpectedCalls], components: Components
) -> Generator[StepDone, None, tuple[Tensor, Tensor]]:
    """Run the sampler; return (final latent, the latent without noise to decode from), both in model space."""
    settings = stage.settings
    x, expected = begin
    task = SamplerInput(
        denoise=denoise,
        sigmas=torch.tensor(stage.sigmas, dtype=torch.float32),
        settings=settings,
        seed=stage.seed,
        shift=settings.shift,
        noise=prefetched_noise(expected.intervals),
    )
    sampler = SAMPLERS[settings.sampler](task, x)
    denoised, preview = x, previewer(components.preview, x.device)
    # An asynchronous device gets the next step's work before the host waits for this step's preview.
    ahead = 1 if is_asynchronous(x.device) else 0
    started: deque[tuple[int, Callable[[], Picture]]] = deque()
    while True:
        try:
            step = next(sampler)
        except StopIteration as end:
            yield from (StepDone(stage, number, shown()) for number, shown in started)
            return end.value, end.value if stage.finishes else denoised
        denoised = step.denoised
        started.append((step.index + 1, preview(denoised)))
        if len(started) > ahead:
            number, shown = started.popleft()
            yield StepDone(stage, number, shown())


def _stage_record(result: StageResult, seconds: float) -> StageRecord:
    return StageRecord(
        number=result.stage.number,
        seed=result.stage.seed,
        seconds=round(seconds, 3),
        calls=result.calls,
        skipped_calls=len(result.skipped_calls),
        from_memory=result.from_memory,
    )


def _record(
    plan: GenerationPlan, model: str, stages: tuple[StageRecord, ...], surroundings: RunEnvironment, seconds: float
) -> ImageRecord:
    now = datetime.now().astimezone()
    last = plan.stages[-1].settings
    return ImageRecord(
        id=new_id(now, secrets.token_hex(4)),
        created=now,
        model=model,
        request=plan.request,
        width=last.width,
        height=last.height,
        seconds=round(seconds, 3),
        stages=stages,
        surroundings=surroundings,
    )


def _run_environment(components: Components, savings: MemorySavings) -> RunEnvironment:
    return RunEnvironment(
        app=__version__,
        torch=torch.__version__,
        device=components.transformer.device.type,
        dtype=str(components.transformer.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        tiled=savings.tiled,
        runner="local",
    )


def _check_finite(latent: Tensor, stage: StagePlan, plan: GenerationPlan) -> None:
    """Raise GenerationError if the latent isn't finite, because it would decode to a black picture."""
    bad = int((~torch.isfinite(latent)).sum())
    if bad == 0:
        return
    number = stage.number + 1
    strong = [use for use in plan.request.loras if use.acts_in(stage.number)]
    if strong:
        names = ", ".join(f"{use.name} ({use.strength:g})" for use in strong)
        cause = Text(
            f"the likely cause is a LoRA: {names}; lower or remove it", f"多半是 LoRA 所致：{names}；请降低强度或移除"
        )
    elif extreme := ", ".join(_extreme(stage)):
        cause = Text(f"the likely cause is {extreme}; lower it", f"多半是 {extreme} 过大所致；请调低")
    else:
        cause = Text(
            "the likely cause is a damaged model file or a number format that the device computes wrongly;"
            " check the model's files, or choose another dtype",
            "多半是模型文件损坏，或设备对该数值格式计算有误；请检查模型文件或更换 dtype",
        )
    raise GenerationError(
        Text(
            f"Stage {number} gave {bad} values that are not finite, so there is no picture: {cause.en}.",
            f"第 {number} 阶段出现 {bad} 个非有限数值，无法成图：{cause.zh}。",
        )
    )


def _extreme(stage: StagePlan) -> list[str]:
    """Return the stage's settings, with their values, that are far above the usual range."""
    settings = stage.settings
    found = (("cfg", settings.cfg, 10), ("s_noise", settings.s_noise, 2), ("eta", settings.eta, 1))
    return [f"{name} {value:g}" for name, value, usual in found if value > usual]
