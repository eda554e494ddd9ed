"""Turns a request into a plan: draws seeds, settles sizes and noise levels. Pure; no torch."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from zimage_app.domain.card import ModelCard
from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS
from zimage_app.domain.errors import wrong_field
from zimage_app.domain.guidance import (
    conditions_at,
    nag_share,
    negative_acts,
    reads_negative,
    subtracts_negative,
)
from zimage_app.domain.negpip import Phrase, subtracted
from zimage_app.domain.prompt_syntax import unread_syntax
from zimage_app.domain.prompt_tags import plain_name, take_tags
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import as_float32, percent_to_sigma, stage_sigmas
from zimage_app.domain.seeded_random import GOLDEN, splitmix64
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.sizes import same_shape
from zimage_app.domain.text import Remark, Text
from zimage_app.domain.trajectory import Size, Takeover, fill_seed, growth, raised, switch_sigma, switch_step
from zimage_app.domain.wildcard_expansion import drawn, no_wildcards
from zimage_app.domain.wildcards import Lines

_SEED_BITS = 50
"""Drawn seeds stay below 2^53, so that a browser's numbers hold them exactly."""

MAX_UPCOMING = 8
"""Maximum number of plans after the present one that a run gets to know."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage as it will run."""

    number: int
    """Index of the stage in the request, from 0; a plan leaves out stages that are off."""
    settings: Stage
    """As requested, except that a random seed is replaced by the drawn number."""
    sigmas: tuple[float, ...]
    """steps + 1 noise levels, high to low; the last is 0, or the one at which the next stage takes over."""
    seed: int
    window: tuple[float, float] | None
    """EasyCache: skipping is allowed for ``window[1] < sigma <= window[0]``; None without EasyCache."""
    takeover: Takeover | None = None
    """Where this stage continues the previous stage's trajectory; None where it starts its own."""
    text: str = ""
    """Input of the text encoder; empty in a plan that is made for its numbers alone."""
    phrases: tuple[Phrase, ...] = ()
    """Phrases that NegPiP subtracts from ``text``."""
    variation: tuple[int, float] | None = None
    """Seed of the second noise that the initial noise is interpolated to, and the fraction (0…1)."""

    @property
    def steps(self) -> int:
        """Sampling steps."""
        return len(self.sigmas) - 1

    @property
    def latent_size(self) -> tuple[int, int]:
        """(height, width) of the latent."""
        return _latent_size(self.settings)

    @property
    def handover(self) -> str:
        """The hand-over rule in effect: ``resize`` where a continuing rule has no trajectory to continue."""
        rule = self.settings.handover
        return "resize" if HANDOVER_TRAITS[rule].continues and self.takeover is None else rule

    @property
    def finishes(self) -> bool:
        """Whether the stage ends at sigma 0 rather than handing its trajectory on."""
        return self.sigmas[-1] == 0.0

    @property
    def noise_seed(self) -> int:
        """The seed of the initial noise; the noise that steps add uses ``seed``."""
        return self.seed if self.takeover is None else self.takeover.seed

    @property
    def scheduled(self) -> float:
        """Steps of the full schedule that this stage runs a part of: the trajectory's, or those before ``denoise``."""
        if self.takeover or not self.finishes:
            return self.settings.steps
        return self.steps / self.settings.denoise

    @property
    def conditions(self) -> tuple[int, ...]:
        """The number of prompts that each step evaluates."""
        return tuple(conditions_at(self.settings, sigma) for sigma in self.sigmas[:-1])

    @property
    def evaluations(self) -> int:
        """Maximum number of model evaluations, each of one condition; EasyCache may skip some.

        Where CFG acts at some noise levels only, all evaluations of a step are counted as at the step's first sigma.
        """
        traits = SAMPLER_TRAITS[self.settings.sampler]
        ending = (traits.ending if self.finishes else traits.ending[:-1])[-self.steps :]
        each = (*(traits.evaluations,) * (self.steps - len(ending)), *ending)
        return sum(map(operator.mul, each, self.conditions))

    @property
    def nag_extra(self) -> float:
        """Rough extra time of the stage with NAG, as a fraction of its time without; 0 without NAG."""
        nag = self.settings.nag
        if nag is None or not nag.on:
            return 0.0
        return nag_share(self.settings) * sum(map(nag.acts_at, self.sigmas[:-1])) / sum(self.conditions)

    @property
    def cost(self) -> float:
        """Rough cost in evaluations of one latent cell, for progress bars and estimates."""
        height, width = self.latent_size
        return self.evaluations * height * width * (1.0 + self.nag_extra)


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A whole run, with every seed drawn and every default filled in."""

    request: GenerationRequest
    """The request with all open values filled in; planning it again gives the same plan."""
    stages: tuple[StagePlan, ...]
    warnings: tuple[Text, ...]
    """Warnings for the user about settings that have no effect or an unusual one."""

    @property
    def cost(self) -> float:
        """The stages' cost together."""
        return sum(stage.cost for stage in self.stages)

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """(field, text) of everything that the text encoder reads."""
        for stage in self.stages:
            yield "prompt", stage.text
            if reads_negative(stage.settings):
                yield "negative", self.request.negative
            yield from (("negative", phrase.text) for phrase in stage.phrases)


def draw_seed() -> int:
    """A random seed below 2^50."""
    return secrets.randbits(_SEED_BITS)


def stage_seed(base: int, number: int) -> int:
    """The seed of stage ``number`` (from 0): ``base`` itself for the first, then splitmix64 of base and number.

    A plain ``base + number`` would give the next stage the same noise that an ancestral sampler of this stage draws,
    because ComfyUI seeds that noise with ``seed + 1``.
    """
    if number == 0:
        return base
    return splitmix64(base + number * GOLDEN) >> (64 - _SEED_BITS)


def make_plan(
    request: GenerationRequest,
    card: ModelCard,
    draw: Callable[[], int] = draw_seed,
    lora_name: Callable[[str], str] = plain_name,
    wildcard: Lines = no_wildcards,
) -> GenerationPlan:
    """Plan a request for one model.

    ``draw`` returns a random seed. ``lora_name`` returns the full name of a LoRA, and ``wildcard`` the lines of a
    wildcard; each raises its own StudioError for an unknown name.

    Raises:
        RequestError: the request can't be run; names the field.
    """
    base = draw() if request.seed == "random" else request.seed
    request, tag_warnings = take_tags(drawn(request, base, wildcard), lora_name)
    asked = card.stages if request.stages is None else request.stages
    settled = tuple(_with_seed(stage, base, number, draw) for number, stage in enumerate(asked))
    begin = _first_stage(request.start, asked)
    running = [(number, *each) for number, each in enumerate(settled) if each[0].enabled and number >= begin]
    texts = _texts(request, asked)
    plans = [
        replace(plan, text=texts[plan.number][0], phrases=texts[plan.number][1])
        for plan in stage_plans(running, card.shift)
    ]
    whole = request.model_copy(update={"seed": base, "stages": tuple(stage for stage, _ in settled)})
    if request.variation_strength:
        other = draw() if request.variation_seed == "random" else request.variation_seed
        whole = whole.model_copy(update={"variation_seed": other})
        plans[0] = replace(plans[0], variation=(other, request.variation_strength))
    warnings = (*tag_warnings, *_warnings(request, plans), *_unsuitable(card, plans), *_lora_warnings(whole, plans))
    warnings = (*warnings, *_unread(whole, plans))
    return GenerationPlan(whole, tuple(plans), warnings)


def _with_seed(stage: Stage, base: int, number: int, draw: Callable[[], int]) -> tuple[Stage, int]:
    """The stage and its seed. ``follow`` stays, because it is reproducible; ``random`` becomes a number."""
    if stage.seed == "follow":
        return stage, stage_seed(base, number)
    seed = draw() if stage.seed == "random" else stage.seed
    return stage.model_copy(update={"seed": seed}), seed


def _first_stage(start: StartPicture | None, stages: Sequence[Stage]) -> int:
    """The first stage that may run, from 0.

    Raises:
        RequestError: the start picture's stage does not exist, or it and all later stages are switched off.
    """
    if start is None:
        return 0
    if start.stage > len(stages):
        raise wrong_field(
            "start.stage",
            f"{start.stage}: there is no such stage; the stages are 1 to {len(stages)}",
            f"{start.stage}：没有这个阶段；可用 1 到 {len(stages)}",
        )
    if not any(stage.enabled for stage in stages[start.stage - 1 :]):
        raise wrong_field(
            "start.stage",
            f"stage {start.stage} and all that follow are switched off; switch one on or choose an earlier stage",
            f"第 {start.stage} 阶段及其后的阶段都已关闭；请启用其中之一或选择更早的阶段",
        )
    return start.stage - 1


def _texts(request: GenerationRequest, stages: Sequence[Stage]) -> list[tuple[str, tuple[Phrase, ...]]]:
    """For each stage, the text encoder's input and the phrases that NegPiP subtracts.

    Where any stage has NegPiP, ``(text:-1)`` is removed from the text of every stage.
    """
    prompt = request.full_prompt
    weights = {stage.negpip.weight for stage in stages if stage.enabled and stage.negpip}
    if not weights:
        return [(prompt, ())] * len(stages)
    without = subtracted(prompt)[0]
    read = {weight: subtracted(prompt, request.negative, weight) for weight in weights}
    return [read[stage.negpip.weight] if stage.enabled and stage.negpip else (without, ()) for stage in stages]


def _unread(request: GenerationRequest, plans: Sequence[StagePlan]) -> Iterator[Text]:
    """Warnings about syntax that neither the model nor NegPiP reads."""
    yield from unread_syntax(plans[0].text, "prompt")
    if not any(subtracts_negative(plan.settings) for plan in plans):
        yield from unread_syntax(request.negative, "negative")


def stage_plans(stages: Sequence[tuple[int, Stage, int]], shift: float) -> list[StagePlan]:
    """Plan stages that run one after the other, given as (number, settings, seed); ``shift`` is the model's own.

    Raises:
        RequestError: a stage can't be run; names the field.
    """
    plans: list[StagePlan] = []
    taken: Takeover | None = None
    for place, (number, stage, seed) in enumerate(stages):
        sigmas = _sigmas(number, stage, 1.0 if taken else stage.denoise)
        if taken:
            sigmas = (taken.sigma, *(level for level in sigmas if level < taken.sigma))
        handed_over = _handed_on(sigmas, taken.seed if taken else seed, stages[place : place + 2])
        if handed_over:
            sigmas = (*(level for level in sigmas if level > handed_over.sigma), handed_over.sigma)
        if taken:
            ratio = growth(plans[-1].latent_size, _latent_size(stage))
            sigmas = (as_float32(raised(taken.sigma, ratio)), *sigmas[1:])
        plans.append(StagePlan(number, stage, sigmas, seed, _window(stage.easycache, shift), taken))
        shift, taken = stage.shift, handed_over
    return plans


def running_stages(stages: Iterable[tuple[int, Stage]]) -> list[StagePlan]:
    """Plan stages that run one after the other, each given as (number, settings).

    For callers that need no seeds, texts or EasyCache windows: seeds are 0, texts empty, windows those of shift 1.

    Raises:
        RequestError: a stage can't be run; names the field.
    """
    return stage_plans([(number, stage, 0) for number, stage in stages], 1.0)


def _handed_on(sigmas: Sequence[float], seed: int, stages: Sequence[tuple[int, Stage, int]]) -> Takeover | None:
    """Where the second of ``stages`` takes over the first one's trajectory; None where it starts its own.

    Raises:
        RequestError: no step is left before the takeover, or the picture would shrink.
    """
    if len(stages) < 2 or not HANDOVER_TRAITS[stages[1][1].handover].continues:
        return None
    (first, before, _), (number, stage, _) = stages
    step = switch_step(sigmas, switch_sigma(_latent_size(before), stage.delta))
    if step == 0:
        raise wrong_field(
            f"stages.{number}.delta",
            f"{stage.delta:g} leaves stage {first + 1} no step of the trajectory; raise it, use more steps or"
            f" switch stage {first + 1} off",
            f"{stage.delta:g} 使第 {first + 1} 阶段分不到任何一步；请调高该值、增加步数或关闭第 {first + 1} 阶段",
        )
    if growth(_latent_size(before), _latent_size(stage)) < 1.0:
        raise wrong_field(
            f"stages.{number}.handover",
            f"{stage.handover} (stage {number + 1}) needs a stage that is not smaller than the one before",
            f"{stage.handover}（第 {number + 1} 阶段）要求本阶段不小于上一阶段",
        )
    return Takeover(sigmas[step], fill_seed(seed))


def _latent_size(stage: Stage) -> Size:
    return stage.height // 8, stage.width // 8


def _sigmas(number: int, stage: Stage, denoise: float) -> tuple[float, ...]:
    """The stage's noise levels at ``denoise``; raises RequestError where some of them coincide."""
    sigmas = _levels(stage, stage.steps, denoise)
    if len(sigmas) <= stage.steps:
        fewer = range(stage.steps - 1, 0, -1)
        max_steps = next((steps for steps in fewer if len(_levels(stage, steps, denoise)) > steps), 1)
        raise wrong_field(
            f"stages.{number}.steps",
            f"{stage.steps} (stage {number + 1}) is more than the {stage.scheduler} scheduler can tell apart at"
            f" this denoise; use at most {max_steps} or another scheduler",
            f"{stage.steps}（第 {number + 1} 阶段）超过 {stage.scheduler} 调度器在此重绘幅度下能区分的步数；"
            f"请不超过 {max_steps} 步或换一个调度器",
        )
    return sigmas


def _levels(stage: Stage, steps: int, denoise: float) -> tuple[float, ...]:
    """The stage's noise levels for ``steps`` steps; fewer than ``steps + 1`` where some of them coincide."""
    discards = SAMPLER_TRAITS[stage.sampler].discards_penultimate
    return stage_sigmas(stage.scheduler, stage.shift, steps, denoise, discard_penultimate=discards)


def _window(easycache: EasyCache | None, previous_shift: float) -> tuple[float, float] | None:
    """The (start, end) sigmas between which EasyCache may skip; None without EasyCache.

    ComfyUI uses the shift that the previous sampler left on the shared model (HOW-IT-COMPUTES.md section 6). It
    compares in float32, so both ends are rounded like the noise levels: a level on an end must equal it.
    """
    if easycache is None:
        return None
    shift = previous_shift if easycache.window_shift == "auto" else easycache.window_shift
    return as_float32(percent_to_sigma(shift, easycache.start)), as_float32(percent_to_sigma(shift, easycache.end))


def _warnings(request: GenerationRequest, plans: list[StagePlan]) -> tuple[Text, ...]:
    warnings: list[Text] = []
    if request.negative.strip() and not any(negative_acts(plan.settings) for plan in plans):
        warnings.append(
            Remark(
                "The negative prompt has no effect: CFG is 1 in every stage, and neither NAG nor NegPiP is on.",
                "反向提示词没有作用：所有阶段的 CFG 都是 1，且未启用 NAG 或 NegPiP。",
                "negative",
            )
        )
    first = plans[0]
    if request.start is not None:
        warnings.extend(_start_warnings(request.start, first))
    elif first.settings.denoise < 1.0:
        warnings.append(
            Remark(
                f"Stage {first.number + 1} starts from an empty latent with denoise {first.settings.denoise:g};"
                " use 1 to draw the whole picture.",
                f"第 {first.number + 1} 阶段从空白潜变量开始，而重绘幅度只有 {first.settings.denoise:g}；"
                "想画整张图请设为 1。",
                "stages",
            )
        )
    return (*warnings, *_different_shapes(plans))


def _different_shapes(plans: Sequence[StagePlan]) -> Iterator[Text]:
    """Yield a warning about stages whose aspect ratio differs from the last stage's: the picture is stretched."""
    last = plans[-1].settings
    odd = [plan for plan in plans if not same_shape(plan.settings, last)]
    if odd:
        shown, places = _listed(f"{plan.settings.width}×{plan.settings.height}" for plan in odd), _places(odd)
        verb = "has" if len(odd) == 1 else "have"
        yield Remark(
            f"{places.en.capitalize()} ({shown.en}) {verb} another shape than the picture"
            f" ({last.width}×{last.height}), which is stretched for it; give all stages one shape.",
            f"{places.zh}（{shown.zh}）与成片（{last.width}×{last.height}）比例不同，画面会被拉伸；"
            "请让各阶段比例一致。",
            "size",
        )


def _start_warnings(start: StartPicture, first: StagePlan) -> Iterator[Text]:
    number = first.number + 1
    if number != start.stage:
        yield Remark(
            f"Stage {start.stage} is switched off, so the picture starts at stage {number}.",
            f"第 {start.stage} 阶段已关闭，图片从第 {number} 阶段开始。",
            "start",
        )
    if first.settings.denoise >= 1.0 and not start.keeps:
        yield Remark(
            f"The start picture has no effect: denoise is 1 in stage {number}, which redraws all of it;"
            " lower it to keep some.",
            f"起始图片没有作用：第 {number} 阶段的重绘幅度为 1，会全部重画；想保留画面请调低。",
            "start",
        )
    if start.differential is not None and not start.keeps:
        yield Remark(
            "Differential diffusion has no effect: there is no mask, so all of the picture is redrawn.",
            "差分扩散没有作用：没有蒙版，整张图片都会重绘。",
            "start",
        )


def _unsuitable(card: ModelCard, plans: list[StagePlan]) -> tuple[Text, ...]:
    """Warnings about settings outside the model's recommended ranges, with the stages concerned."""
    limits = card.limits
    if limits is None:
        return ()
    cfg = [plan for plan in plans if plan.settings.cfg not in limits.cfg]
    # With denoise below 1 a stage runs only the end of its schedule, so the full schedule's steps are compared.
    few = [plan for plan in plans if plan.scheduled < limits.steps.low]
    many = [plan for plan in plans if plan.steps > limits.steps.high]
    title, warnings = card.title, []
    if cfg:
        values, places = _listed(f"{plan.settings.cfg:g}" for plan in cfg), _places(cfg)
        warnings.append(
            Text(
                f"CFG {values.en} ({places.en}) does not suit {title.en}; use {limits.cfg}.",
                f"CFG {values.zh}（{places.zh}）不适合 {title.zh}；建议 {limits.cfg}。",
            )
        )
    for stages, en, zh in ((few, "too few", "太少"), (many, "too many", "太多")):
        if stages:
            values, places = _listed(str(plan.steps) for plan in stages), _places(stages)
            warnings.append(
                Text(
                    f"{values.en} steps ({places.en}) are {en} for {title.en}; use {limits.steps}.",
                    f"{values.zh} 步（{places.zh}）对 {title.zh} 来说{zh}；建议 {limits.steps} 步。",
                )
            )
    return tuple(warnings)


def _places(plans: Iterable[StagePlan]) -> Text:
    return _stages(plan.number + 1 for plan in plans)


def _stages(numbers: Iterable[int]) -> Text:
    """Stages by their numbers from 1, as in ``stages 1, 2``."""
    listed = _listed(map(str, numbers))
    return Text(f"{'stages' if ',' in listed.en else 'stage'} {listed.en}", f"第 {listed.zh} 阶段")


def _listed(words: Iterable[str]) -> Text:
    """The distinct words in order, joined by commas."""
    distinct = tuple(dict.fromkeys(words))
    return Text(", ".join(distinct), "、".join(distinct))


def _lora_warnings(request: GenerationRequest, plans: list[StagePlan]) -> list[Text]:
    """Warnings about LoRAs that are on but act in no running stage.

    Raises:
        RequestError: a LoRA names a stage that does not exist.
    """
    count = len(request.stages or ())
    warnings: list[Text] = []
    for place, use in enumerate(request.loras):
        numbers = use.stages or ()
        if numbers and numbers[-1] > count:
            raise wrong_field(
                f"loras.{place}.stages",
                f"{use.name}: there is no stage {numbers[-1]}; the stages are 1 to {count}",
                f"{use.name}：没有第 {numbers[-1]} 阶段；可用 1 到 {count}",
            )
        if use.strength and not any(use.acts_in(plan.number) for plan in plans):
            places, verb = _stages(numbers), "does" if len(numbers) == 1 else "do"
            warnings.append(
                Remark(
                    f"LoRA {use.name} has no effect: it acts in {places.en} only, which {verb} not run.",
                    f"LoRA {use.name} 没有作用：它只作用于{places.zh}，而该阶段不会执行。",
                    "loras",
                )
            )
    return warnings
