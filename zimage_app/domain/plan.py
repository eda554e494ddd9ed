"""From what was asked to what will be run: seeds drawn, sizes and noise levels settled. Pure; no torch."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from zimage_app.domain.card import ModelCard
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.drawing import drawn, no_wildcards
from zimage_app.domain.errors import RequestError
from zimage_app.domain.guidance import (
    conditions_at,
    conditions_for,
    nag_share,
    negative_acts,
    subtracts_negative,
)
from zimage_app.domain.mixing import GOLDEN, splitmix64
from zimage_app.domain.negpip import Phrase, subtracted
from zimage_app.domain.prompt_syntax import unread_syntax
from zimage_app.domain.prompt_tags import plain_name, take_tags
from zimage_app.domain.request import EasyCache, GenerationRequest, Stage, StartPicture
from zimage_app.domain.schedules import as_float32, percent_to_sigma, stage_sigmas
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import Lines

_SEED_BITS = 50
"""Drawn seeds stay below 2^53, so that a browser's numbers hold them exactly."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage, settled."""

    number: int
    """Which stage of the request this is, counted from 0; stages that are switched off are left out of a plan."""
    settings: Stage
    """As asked, but with the seed that will be used."""
    sigmas: tuple[float, ...]
    """steps + 1 noise levels, high to low, the last 0."""
    seed: int
    window: tuple[float, float] | None
    """EasyCache: skipping is allowed for ``window[1] < sigma <= window[0]``; None without EasyCache."""
    text: str
    """What the text encoder reads."""
    phrases: tuple[Phrase, ...]
    """NegPiP: what is subtracted from it."""

    @property
    def steps(self) -> int:
        """Sampling steps."""
        return len(self.sigmas) - 1

    @property
    def latent_size(self) -> tuple[int, int]:
        """(height, width) of the latent."""
        return self.settings.height // 8, self.settings.width // 8

    @property
    def evaluations(self) -> int:
        """Model evaluations of one condition each, at most: EasyCache may skip some."""
        return stage_evaluations(self.settings)

    @property
    def cost(self) -> float:
        """See ``stage_cost``."""
        return stage_cost(self.settings)


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A whole run, settled: nothing in it is left to chance or to a default."""

    request: GenerationRequest
    """The request with all that was open filled in; the same plan comes of it again."""
    stages: tuple[StagePlan, ...]
    warnings: tuple[Text, ...]
    """What the user should know: settings that have no effect, or an odd one."""


def stage_evaluations(stage: Stage) -> int:
    """Model evaluations that a stage asks for, each of one condition: positive, and negative where CFG acts.

    Where CFG acts at some noise levels only, those between two steps are taken to be the first one's.
    """
    traits = SAMPLER_TRAITS[stage.sampler]
    ending = traits.ending[-stage.steps :]
    each = [traits.evaluations] * (stage.steps - len(ending)) + list(ending)
    if conditions_for(stage.cfg) == 1 or (stage.cfg_start, stage.cfg_end) == (1.0, 0.0):
        return sum(each) * conditions_for(stage.cfg)
    return sum(
        count * conditions_at(stage, sigma) for count, sigma in zip(each, _sigmas(stage, stage.steps), strict=False)
    )


def stage_cost(stage: Stage) -> float:
    """Rough cost of a stage, in evaluations of one latent cell: what progress bars and estimates need."""
    cost = stage_evaluations(stage) * float((stage.height // 8) * (stage.width // 8))
    return cost * (1.0 + nag_extra(stage))


def nag_extra(stage: Stage) -> float:
    """How much longer a stage takes for its NAG, roughly, as a part of what it takes without."""
    if stage.nag is None or not stage.nag.on:
        return 0.0
    sigmas = _sigmas(stage, stage.steps)[:-1]
    asked = sum(conditions_at(stage, sigma) for sigma in sigmas)
    return nag_share(stage) * sum(map(stage.nag.acts_at, sigmas)) / asked if asked else 0.0


def draw_seed() -> int:
    """A fresh random seed."""
    return secrets.randbits(_SEED_BITS)


def stage_seed(base: int, number: int) -> int:
    """The seed of stage ``number`` (from 0) that follows ``base``: the base itself, then splitmix64 of it.

    A plain ``base + number`` would give the next stage the very noise that an ancestral sampler of this stage draws,
    because ComfyUI seeds that with ``seed + 1``.
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
    """Settle a request for one model.

    ``draw`` gives the seeds that are left to chance. ``lora_name`` gives the name in full of a LoRA that is on, and
    ``wildcard`` the lines of a wildcard; both raise what they have to say where there is none.
    """
    base = draw() if request.seed == "random" else request.seed
    request, tag_warnings = take_tags(drawn(request, base, wildcard), lora_name)
    asked = card.stages if request.stages is None else request.stages
    settled = tuple(_with_seed(stage, base, number, draw) for number, stage in enumerate(asked))
    plans: list[StagePlan] = []
    previous_shift = card.shift
    begin = _first_stage(request.start, asked)
    texts = _texts(request, asked)
    for number, (stage, seed) in enumerate(settled):
        if stage.enabled and number >= begin:
            plans.append(_stage_plan(number, stage, seed, previous_shift, texts[number]))
            previous_shift = stage.shift
    whole = request.model_copy(update={"seed": base, "stages": tuple(stage for stage, _ in settled)})
    warnings = (*tag_warnings, *_warnings(request, plans), *_unsuitable(card, plans), *_lora_warnings(whole, plans))
    warnings = (*warnings, *_unread(whole, plans))
    return GenerationPlan(whole, tuple(plans), warnings)


def _with_seed(stage: Stage, base: int, number: int, draw: Callable[[], int]) -> tuple[Stage, int]:
    """A stage and its seed. A rule that can be followed again stays a rule; chance becomes a number."""
    if stage.seed == "follow":
        return stage, stage_seed(base, number)
    seed = draw() if stage.seed == "random" else stage.seed
    return stage.model_copy(update={"seed": seed}), seed


def _first_stage(start: StartPicture | None, stages: Sequence[Stage]) -> int:
    """The first stage that may run, from 0.

    Raises:
        RequestError: the picture's stage isn't there, or it is switched off with all that follow.
    """
    if start is None:
        return 0
    if start.stage > len(stages):
        raise RequestError(
            "start.stage",
            Text(
                f"{start.stage}: there is no such stage; the stages are 1 to {len(stages)}",
                f"{start.stage}：没有这个阶段；可用 1 到 {len(stages)}",
            ),
        )
    if not any(stage.enabled for stage in stages[start.stage - 1 :]):
        raise RequestError(
            "start.stage",
            Text(
                f"stage {start.stage} and all that follow are switched off; switch one on or choose an earlier stage",
                f"第 {start.stage} 阶段及其后的阶段都已关闭；请启用其中之一或选择更早的阶段",
            ),
        )
    return start.stage - 1


def _texts(request: GenerationRequest, stages: Sequence[Stage]) -> list[tuple[str, tuple[Phrase, ...]]]:
    """What is read in each stage, and subtracted from it.

    Where some stage has NegPiP, ``(text:-1)`` is no part of the text that any of them reads.
    """
    prompt = request.full_prompt
    if not any(stage.enabled and stage.negpip for stage in stages):
        return [(prompt, ())] * len(stages)
    without = subtracted(prompt)[0]
    return [
        (without, ()) if stage.negpip is None else subtracted(prompt, request.negative, stage.negpip.weight)
        for stage in stages
    ]


def _unread(request: GenerationRequest, plans: Sequence[StagePlan]) -> Iterator[Text]:
    """Syntax that means nothing to the model, where nobody else reads it."""
    yield from unread_syntax(plans[0].text, "prompt")
    if not any(subtracts_negative(plan.settings) for plan in plans):
        yield from unread_syntax(request.negative, "negative")


def _stage_plan(
    number: int, stage: Stage, seed: int, previous_shift: float, text: tuple[str, tuple[Phrase, ...]]
) -> StagePlan:
    sigmas = _sigmas(stage, stage.steps)
    if len(sigmas) <= stage.steps:
        most = next((steps for steps in range(stage.steps - 1, 0, -1) if len(_sigmas(stage, steps)) > steps), 1)
        raise RequestError(
            f"stages.{number}.steps",
            Text(
                f"{stage.steps} (stage {number + 1}) is more than the {stage.scheduler} scheduler can tell apart at"
                f" this denoise; use at most {most} or another scheduler",
                f"{stage.steps}（第 {number + 1} 阶段）超过 {stage.scheduler} 调度器在此重绘幅度下能区分的步数；"
                f"请不超过 {most} 步或换一个调度器",
            ),
        )
    return StagePlan(number, stage, sigmas, seed, _window(stage.easycache, previous_shift), *text)


def _sigmas(stage: Stage, steps: int) -> tuple[float, ...]:
    """The stage's noise levels for so many steps; fewer than ``steps + 1`` where some of them coincide."""
    discards = SAMPLER_TRAITS[stage.sampler].discards_penultimate
    return stage_sigmas(stage.scheduler, stage.shift, steps, stage.denoise, discard_penultimate=discards)


def _window(easycache: EasyCache | None, previous_shift: float) -> tuple[float, float] | None:
    """ComfyUI reads the shift that the sampler before has left on the shared model (workflow.md section 6).

    It compares in float32, so the ends are rounded as the noise levels are: one that lies on an end must equal it.
    """
    if easycache is None:
        return None
    shift = previous_shift if easycache.window_shift == "auto" else easycache.window_shift
    return as_float32(percent_to_sigma(shift, easycache.start)), as_float32(percent_to_sigma(shift, easycache.end))


def _warnings(request: GenerationRequest, plans: list[StagePlan]) -> tuple[Text, ...]:
    warnings: list[Text] = []
    if request.negative.strip() and not any(negative_acts(plan.settings) for plan in plans):
        warnings.append(
            Text(
                "The negative prompt has no effect: CFG is 1 in every stage, and neither NAG nor NegPiP is on.",
                "反向提示词没有作用：所有阶段的 CFG 都是 1，且未启用 NAG 或 NegPiP。",
            )
        )
    first = plans[0]
    if request.start is not None:
        warnings.extend(_start_warnings(request.start, first))
    elif first.settings.denoise < 1.0:
        warnings.append(
            Text(
                f"Stage {first.number + 1} starts from an empty latent with denoise {first.settings.denoise:g};"
                " use 1 to draw the whole picture.",
                f"第 {first.number + 1} 阶段从空白潜变量开始，而重绘幅度只有 {first.settings.denoise:g}；"
                "想画整张图请设为 1。",
            )
        )
    return tuple(warnings)


def _start_warnings(start: StartPicture, first: StagePlan) -> Iterator[Text]:
    number = first.number + 1
    if number != start.stage:
        yield Text(
            f"Stage {start.stage} is switched off, so the picture starts at stage {number}.",
            f"第 {start.stage} 阶段已关闭，图片从第 {number} 阶段开始。",
        )
    if first.settings.denoise >= 1.0:
        yield Text(
            f"The start picture has no effect: denoise is 1 in stage {number}, which redraws all of it;"
            " lower it to keep some.",
            f"起始图片没有作用：第 {number} 阶段的重绘幅度为 1，会全部重画；想保留画面请调低。",
        )


def _unsuitable(card: ModelCard, plans: list[StagePlan]) -> tuple[Text, ...]:
    """What the model was not made for, with the stages that it concerns."""
    limits = card.limits
    if limits is None:
        return ()
    cfg = [plan for plan in plans if plan.settings.cfg not in limits.cfg]
    # A stage that redraws part of a picture runs its steps over that part alone.
    few = [plan for plan in plans if plan.steps / plan.settings.denoise < limits.steps.low]
    many = [plan for plan in plans if plan.steps > limits.steps.high]
    title, warnings = card.title, []
    if cfg:
        values = _listed(f"{plan.settings.cfg:g}" for plan in cfg)
        warnings.append(
            Text(
                f"CFG {values} (stage {_places(cfg)}) does not suit {title.en}; use {limits.cfg}.",
                f"CFG {values}（第 {_places(cfg)} 阶段）不适合 {title.zh}；建议 {limits.cfg}。",
            )
        )
    for stages, en, zh in ((few, "too few", "太少"), (many, "too many", "太多")):
        if stages:
            values = _listed(str(plan.steps) for plan in stages)
            warnings.append(
                Text(
                    f"{values} steps (stage {_places(stages)}) are {en} for {title.en}; use {limits.steps}.",
                    f"{values} 步（第 {_places(stages)} 阶段）对 {title.zh} 来说{zh}；建议 {limits.steps} 步。",
                )
            )
    return tuple(warnings)


def _places(plans: list[StagePlan]) -> str:
    return _listed(str(plan.number + 1) for plan in plans)


def _listed(words: Iterable[str]) -> str:
    """Each once, in their order."""
    return ", ".join(dict.fromkeys(words))


def _lora_warnings(request: GenerationRequest, plans: list[StagePlan]) -> list[Text]:
    """LoRAs that are on, but in no stage that runs.

    Raises:
        RequestError: a LoRA's stage isn't there.
    """
    count = len(request.stages or ())
    warnings: list[Text] = []
    for place, use in enumerate(request.loras):
        numbers = use.stages or ()
        if numbers and numbers[-1] > count:
            raise RequestError(
                f"loras.{place}.stages",
                Text(
                    f"{use.name}: there is no stage {numbers[-1]}; the stages are 1 to {count}",
                    f"{use.name}：没有第 {numbers[-1]} 阶段；可用 1 到 {count}",
                ),
            )
        if use.strength and not any(use.acts_in(plan.number) for plan in plans):
            shown = ", ".join(map(str, numbers))
            warnings.append(
                Text(
                    f"LoRA {use.name} has no effect: it acts in stage {shown} only, which does not run.",
                    f"LoRA {use.name} 没有作用：它只作用于第 {shown} 阶段，而该阶段不会执行。",
                )
            )
    return warnings
