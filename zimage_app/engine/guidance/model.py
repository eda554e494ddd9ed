"""The denoiser that a sampler calls: the transformer wrapped in CFG, EasyCache and the stage's guidance rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.domain.guidance import conditions_at
from zimage_app.domain.plan import StagePlan
from zimage_app.engine.guidance.easycache import EasyCacheSkipper
from zimage_app.engine.guidance.rule import Rule, StageTexts, TextFeatures
from zimage_app.engine.guidance.rules import rules_for
from zimage_app.models.components import AttentionGuidance, Evaluation, PreparedPrompt

Prepare = Callable[[TextFeatures], PreparedPrompt]
Evaluate = Callable[[Sequence[PreparedPrompt], Sequence[float], AttentionGuidance | None], Evaluation]
"""(prompts, expected sigmas, attention guidance of the first row) -> the transformer prepared for them."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The batch rows of one step, and the model calls that ComfyUI would make for them.

    ComfyUI evaluates positive and negative prompt in one call (negative first) if they have equally many tokens, and
    in two calls (positive first) otherwise. Its EasyCache tracks the first condition of the first call. This app always
    evaluates both in one batch, the positive first; ``tracked`` and ``norm_rows`` reproduce ComfyUI's choice.
    """

    count: int
    calls: int
    tracked: int
    norm_rows: slice

    @classmethod
    def of(cls, tokens: Sequence[int]) -> Rows:
        """``tokens``: the number of tokens of the positive prompt and, if it is used, of the negative one."""
        if len(tokens) == 1:
            return cls(1, 1, 0, slice(None))
        if tokens[0] == tokens[1]:
            return cls(2, 1, 1, slice(None))
        return cls(2, 2, 0, slice(0, 1))


@dataclass(frozen=True, slots=True)
class Mode:
    """How the model is evaluated at those noise levels that share the same conditions and the same active rules."""

    evaluate: Evaluation
    rows: Rows
    cache: EasyCacheSkipper | None = None
    """One cache per mode, because outputs of another mode don't predict this mode's."""
    rules: tuple[Rule, ...] = ()


class Modes:
    """The modes of one stage by noise level; each is built on first use."""

    def __init__(
        self,
        stage: StagePlan,
        texts: StageTexts,
        expected_sigmas: Sequence[float],
        prepare: Prepare,
        evaluate: Evaluate,
    ) -> None:
        self._stage = stage
        self._texts = texts
        self._expected_sigmas = expected_sigmas
        self._prepare = prepare
        self._evaluate = evaluate
        self._rules = rules_for(stage, texts)
        self._made: dict[tuple[object, ...], Mode] = {}

    def __call__(self, sigma: float) -> Mode:
        """Return the mode at noise level ``sigma``."""
        key = self._key(sigma)
        if key not in self._made:
            self._made[key] = self._mode(sigma)
        return self._made[key]

    def _key(self, sigma: float) -> tuple[object, ...]:
        return conditions_at(self._stage.settings, sigma), *(rule.acts(sigma) for rule in self._rules)

    def _mode(self, sigma: float) -> Mode:
        key = self._key(sigma)
        rules = tuple(rule for rule in self._rules if rule.acts(sigma))
        positive = self._texts.positive
        for rule in rules:
            positive = rule.text(positive)
        texts = [positive]
        if conditions_at(self._stage.settings, sigma) == 2:
            assert self._texts.negative is not None
            texts.append(self._texts.negative)
        prompts = [self._prepare(text) for text in texts]
        rows = Rows.of([prompt.tokens for prompt in prompts])
        expected_sigmas = [level for level in self._expected_sigmas if self._key(level) == key]
        evaluate = self._evaluate(prompts, expected_sigmas, self._guidance(rules, positive))
        return Mode(evaluate, rows, _cache(self._stage, rows), rules)

    def _guidance(self, rules: Sequence[Rule], positive: TextFeatures) -> AttentionGuidance | None:
        found = [against for rule in rules if (against := rule.against(positive)) is not None]
        if not found:
            return None
        ((text, combine, captions),) = found
        return AttentionGuidance(self._prepare(text), combine, captions)


class GuidedModel:
    """The denoiser of one stage: (x, sigma) -> denoised, float32. Counts model calls as ComfyUI would make them."""

    def __init__(self, mode_at: Callable[[float], Mode], cfg: float, dtype: torch.dtype) -> None:
        self._mode_at = mode_at
        self._cfg = cfg
        self._dtype = dtype
        self.calls = 0
        self.skipped_calls: list[int] = []

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """x (1, 16, h, w), float32, model space -> denoised of the same shape."""
        mode = self._mode_at(sigma)
        # The model reads a rounded copy; the step itself uses the float32 latent.
        batch = x.to(self._dtype).expand(mode.rows.count, -1, -1, -1)
        velocity, skipped = _velocity(mode, batch, sigma)
        if skipped:
            self.skipped_calls.extend(range(self.calls, self.calls + mode.rows.calls))
        self.calls += mode.rows.calls
        denoised = x - sigma * velocity.float()
        if mode.rows.count == 1:
            return denoised
        positive, negative = denoised[:1], denoised[1:]
        guided = negative + self._cfg * (positive - negative)
        for rule in mode.rules:
            guided = rule.limited(guided, positive, x)
        return guided


def _velocity(mode: Mode, batch: Tensor, sigma: float) -> tuple[Tensor, bool]:
    if mode.cache is None:
        return mode.evaluate(batch, sigma), False
    return mode.cache(mode.evaluate, batch, sigma)


def _cache(stage: StagePlan, rows: Rows) -> EasyCacheSkipper | None:
    asked = stage.settings.easycache
    if asked is None or stage.window is None:
        return None
    return EasyCacheSkipper(asked.threshold, stage.window, rows.tracked, rows.norm_rows)
