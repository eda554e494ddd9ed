"""The one loop: a plan and a loaded model in, events out. Knows no files, no queue, no page."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
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
from zimage_app.domain.record import ImageRecord, StageRecord, Surroundings, new_id
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__
from zimage_app.engine.guidance.model import GuidedModel, Modes
from zimage_app.engine.guidance.rule import StageTexts, TextFeatures
from zimage_app.engine.handover import HANDOVERS
from zimage_app.engine.handover.resize import resized
from zimage_app.engine.inpaint import Kept, latent_mask, pasted
from zimage_app.engine.noise import initial_noise, turned
from zimage_app.engine.preview import latent_to_rgb, to_picture
from zimage_app.engine.relief import Relief, quietly, with_relief
from zimage_app.engine.samplers import SAMPLERS, Denoiser, SamplerInput, model_sigmas
from zimage_app.engine.stage_memory import StageMemory, StageResult, remembered, stage_keys
from zimage_app.engine.start import encoded, to_vae_space
from zimage_app.models.components import AttentionGuidance, Components, Evaluation, PreparedPrompt

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class _Stopped(Exception):
    """Somebody asked to stop. Raised between two model evaluations, so that no step is waited for."""


PrepareStage = Callable[[StagePlan], bool]
"""Called before a stage, to make the model what the stage asks for; says whether that changed its weights."""
StartImages = Mapping[int, StartImage]
"""The start picture by the numbers of the stages that take it."""
NOTHING: StartImages = MappingProxyType({})


def as_it_is(stage: StagePlan) -> bool:
    """The model stays the same in every stage."""
    del stage
    return False


@torch.inference_mode()
def run(
    plan: GenerationPlan,
    components: Components,
    cancelled: Callable[[], bool],
    prepare: PrepareStage = as_it_is,
    start: StartImages = NOTHING,
    memory: StageMemory | None = None,
) -> Iterator[Event]:
    """Carry out a plan; the last event is Finished, Failed or Cancelled.

    ``start`` is the plan's start picture for the first stage, and for the others where part of it is kept. Stages that
    ``memory`` has are not run again, and those that are run are kept there; it must be that of these components.

    ``inference_mode`` decorates the generator, rather than being entered inside it, because each ``next`` may come
    from another thread and the mode belongs to a thread. ``cancelled`` is asked before every model evaluation.
    """
    begun = time.perf_counter()
    work = _Work(plan, components, cancelled, prepare, start, memory or StageMemory(0), Relief(components))
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
        surroundings = _surroundings(components, work.relief)
        yield Finished(
            made, _record(plan, components.card.name, tuple(done), surroundings, time.perf_counter() - begun)
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
    prepare: PrepareStage = as_it_is,
    start: StartImages = NOTHING,
) -> Iterator[StageStarted | StepDone | StageResult | Warned]:
    """The stages' latents, one after the other, without decoding them.

    Raises:
        GenerationError: a stage's latent holds values that are not finite, or memory ran out for good.
        StudioError: what ``prepare`` raises.
    """
    yield from _Work(plan, components, cancelled, prepare, start, StageMemory(0), Relief(components)).stages()


@dataclass(frozen=True, slots=True)
class _Work:
    """One run, and what it has at hand."""

    plan: GenerationPlan
    components: Components
    cancelled: Callable[[], bool]
    prepare: PrepareStage
    start: StartImages
    memory: StageMemory
    relief: Relief
    keys: dict[int, str] = field(default_factory=dict)
    """Under which each stage is remembered, by its number."""

    def stages(self) -> Iterator[StageStarted | StepDone | StageResult | Warned]:
        """The stages' results, one after the other, those from memory first."""
        plan, components, relief = self.plan, self.components, self.relief
        if (plan.request.start is None) != (plan.stages[0].number not in self.start):
            raise ValueError("a start picture goes with a plan that asks for one")
        keys = stage_keys(plan)
        self.keys.update(zip((stage.number for stage in plan.stages), keys, strict=True))
        latent = None
        known = remembered(self.memory, plan, keys)
        for result in known:
            if self.cancelled():
                raise _Stopped
            latent = result.latent
            yield StageStarted(result.stage)
            yield result
        left = plan.stages[len(known) :]
        texts = yield from with_relief(partial(quietly, partial(_encode_texts, left, plan, components)), relief)
        pictures: dict[int, Tensor] = {}
        for stage in left:
            image = self.start.get(stage.number)
            if image is not None and image.picture is not None:
                encode = partial(encoded, image.picture, components)
                pictures[stage.number] = yield from with_relief(partial(quietly, encode), relief)
        begin = _Beginning(plan, components, self.start, pictures)
        model = _Model(components, texts, self.prepare, self.cancelled, begin)
        if not known:
            latent = pictures.get(plan.stages[0].number)
        for stage in left:
            result = yield from with_relief(partial(model.stage, stage, latent), relief)
            latent = result.latent
            _check_finite(latent, stage, plan)
            self.memory.keep(self.keys[stage.number], result)
            yield result

    def decoded(self, result: StageResult) -> Generator[Warned, None, Picture]:
        """A stage's picture, from memory where it was decoded before."""
        if result.picture is not None:
            return result.picture
        made = yield from with_relief(
            partial(quietly, partial(_decoded, result, self.relief)), self.relief, decoding=True
        )
        if not self.relief.tiled:  # tiles may change colours a little
            self.memory.keep(self.keys[result.stage.number], replace(result, picture=made, from_memory=False))
        return made


class _Model:
    """A loaded model for one run: its prompts as the weights of the stage at hand have them."""

    def __init__(
        self,
        components: Components,
        texts: dict[int, StageTexts],
        prepare: PrepareStage,
        cancelled: Callable[[], bool],
        beginning: _Beginning,
    ) -> None:
        self._components = components
        self._texts = texts
        self._prepare = prepare
        self._cancelled = cancelled
        self._beginning = beginning
        self._prompts: dict[TextFeatures, PreparedPrompt] = {}

    def stage(self, stage: StagePlan, before: Tensor | None) -> Generator[StageStarted | StepDone, None, StageResult]:
        """Run one stage from the latent of the one before. After any error it may be run again."""
        if self._cancelled():
            raise _Stopped
        yield StageStarted(stage)
        begun = time.perf_counter()
        try:
            guided = self._guided(stage)
            x, kept = self._beginning.of(stage, before)
            denoise = guided if kept is None else kept.around(guided)
            final, shown = yield from _steps(stage, denoise, x, self._components)
        except BaseException:
            self._prompts.clear()  # the weights may have been changed and put back since
            raise
        latent, shown = (to_vae_space(each, self._components.latent).cpu() for each in (final, shown))
        seconds = time.perf_counter() - begun
        return StageResult(stage, latent, shown, seconds, guided.calls, tuple(guided.skipped_calls))

    def _guided(self, stage: StagePlan) -> GuidedModel:
        if self._prepare(stage):
            self._prompts.clear()
        settings = stage.settings
        foreseen = model_sigmas(settings.sampler, stage.sigmas, settings, settings.shift) or ()
        modes = Modes(stage, self._texts[stage.number], foreseen, self._prompt, partial(self._evaluation, stage))
        return GuidedModel(modes, settings.cfg, self._components.transformer.dtype)

    def _prompt(self, text: TextFeatures) -> PreparedPrompt:
        """A text as the transformer's present weights refine it."""
        if text not in self._prompts:
            prompt = self._components.transformer.prompt
            self._prompts[text] = _asked_in(text.field, lambda given: prompt(given, text.value_scale), text.features)
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


def _decoded(result: StageResult, relief: Relief) -> Picture:
    """The picture of a stage; raises GenerationError where the decoder makes none of a sound latent."""
    picture = relief.decode(result.shown)
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


def _encode_texts(stages: Sequence[StagePlan], plan: GenerationPlan, components: Components) -> dict[int, StageTexts]:
    """The texts of each stage by its number; the same text of several stages is one object.

    They know nothing of the transformer's weights, so a LoRA leaves them as they are.
    """

    @cache
    def features(field: str, text: str) -> TextFeatures:
        return TextFeatures(field, _asked_in(field, components.text.encode, text))

    def texts(stage: StagePlan) -> StageTexts:
        negative = features("negative", plan.request.negative) if reads_negative(stage.settings) else None
        phrases = tuple((features("negative", phrase.text).features, phrase.weight) for phrase in stage.phrases)
        return StageTexts(features("prompt", stage.text), negative, phrases)

    return {stage.number: texts(stage) for stage in stages}


def _asked_in(field: str, work: Callable[[_Given], _Made], given: _Given) -> _Made:
    """``work(given)``, whose refusals name the field that the user filled in."""
    try:
        return work(given)
    except RequestError as error:
        raise error.at(field) from error


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Where the stages of one run begin, and what they keep."""

    plan: GenerationPlan
    components: Components
    start: StartImages
    pictures: Mapping[int, Tensor]
    """The start picture's latent by stage, in VAE space."""

    def of(self, stage: StagePlan, before: Tensor | None) -> tuple[Tensor, Kept | None]:
        """(where sampling starts, in model space on the model's device; the kept part); ``before`` in VAE space."""
        height, width = stage.latent_size
        shape = (1, len(self.components.preview.factors), height, width)
        noise = initial_noise(shape, stage.noise_seed)
        if stage.variation is not None:
            seed, strength = stage.variation
            noise = turned(noise, initial_noise(shape, seed), strength)
        latent = torch.zeros(shape) if before is None else before
        x = HANDOVERS[stage.handover](latent, noise, stage, self.components.latent)
        kept = self._kept(stage, self.pictures.get(stage.number, latent), noise)
        return x.to(self.components.transformer.device), kept

    def _kept(self, stage: StagePlan, latent: Tensor, noise: Tensor) -> Kept | None:
        start, image = self.plan.request.start, self.start.get(stage.number)
        if start is None or image is None or image.mask is None:
            return None
        if stage.takeover and stage.number not in self.pictures:
            raise ValueError("what a trajectory keeps must be known at every size")
        device, form = self.components.transformer.device, self.components.latent
        mask = latent_mask(image.mask, stage.latent_size).to(device)
        kept = resized(latent, stage, form).to(device)
        return Kept(stage, mask, kept, noise.to(device), start.differential)


def _steps(
    stage: StagePlan, denoise: Denoiser, x: Tensor, components: Components
) -> Generator[StepDone, None, tuple[Tensor, Tensor]]:
    """Run the sampler; gives the final latent and what it shows without noise, in model space."""
    settings = stage.settings
    sigmas = torch.tensor(stage.sigmas, dtype=torch.float32)
    task = SamplerInput(denoise=denoise, sigmas=sigmas, settings=settings, seed=stage.seed, shift=settings.shift)
    sampler = SAMPLERS[settings.sampler](task, x)
    denoised = x
    while True:
        try:
            step = next(sampler)
        except StopIteration as end:
            return end.value, end.value if stage.finishes else denoised
        denoised = step.denoised
        yield StepDone(stage, step.index + 1, latent_to_rgb(denoised, components.preview))


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
    plan: GenerationPlan, model: str, stages: tuple[StageRecord, ...], surroundings: Surroundings, seconds: float
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


def _surroundings(components: Components, relief: Relief) -> Surroundings:
    return Surroundings(
        app=__version__,
        torch=torch.__version__,
        device=components.transformer.device.type,
        dtype=str(components.transformer.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        tiled=relief.tiled,
        runner="local",
    )


def _check_finite(latent: Tensor, stage: StagePlan, plan: GenerationPlan) -> None:
    """Stop here rather than hand a black picture on."""
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
    """Settings of a stage, with their values, that are far above what makes pictures."""
    settings = stage.settings
    found = (("cfg", settings.cfg, 10), ("s_noise", settings.s_noise, 2), ("eta", settings.eta, 2))
    return [f"{name} {value:g}" for name, value, usual in found if value > usual]
