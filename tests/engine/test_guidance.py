"""CFG and EasyCache around a model with a closed-form answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.guidance import conditions_for
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import as_float32
from zimage_app.domain.settings.guidance import CfgLimit, Nag, Variance
from zimage_app.domain.settings.guidance import EasyCache as Cache
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.guidance.easycache import EasyCacheSkipper
from zimage_app.engine.guidance.limit import LimitRule
from zimage_app.engine.guidance.model import GuidedModel, Mode, Modes, Rows
from zimage_app.engine.guidance.negpip import NegPipRule
from zimage_app.engine.guidance.rule import StageTexts, TextFeatures
from zimage_app.models.components import AttentionGuidance, Evaluation, PreparedPrompt

X = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(3))


class RowModel:
    """v = (row + 1) x: each condition has an answer of its own."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.calls.append(sigma)
        return x * torch.arange(1.0, x.shape[0] + 1).reshape(-1, 1, 1, 1)


def guided(cfg: float, tokens: tuple[int, ...], cache: EasyCacheSkipper | None = None) -> tuple[GuidedModel, RowModel]:
    model = RowModel()
    mode = Mode(model, Rows.of(tokens), cache)
    return GuidedModel(lambda _: mode, cfg, torch.float32), model


def test_cfg_one_costs_one_evaluation_of_one_row() -> None:
    assert conditions_for(1.0) == 1
    assert conditions_for(1.0 + 5e-10) == 1
    assert conditions_for(1.001) == 2
    model, raw = guided(1.0, (7,))
    torch.testing.assert_close(model(X, 0.25), X - 0.25 * X)
    assert raw.calls == [0.25]
    assert model.calls == 1


def test_cfg_is_comfyuis_formula_not_diffusers() -> None:
    model, _ = guided(2.0, (7, 9))
    positive, negative = X - 0.5 * X, X - 0.5 * 2.0 * X
    torch.testing.assert_close(model(X, 0.5), negative + 2.0 * (positive - negative))


@pytest.mark.parametrize(("tokens", "calls"), [((7,), 1), ((7, 7), 1), ((7, 9), 2)])
def test_calls_are_counted_as_comfyui_makes_them(tokens: tuple[int, ...], calls: int) -> None:
    model, raw = guided(1.0 if len(tokens) == 1 else 3.0, tokens)
    model(X, 0.5)
    model(X, 0.4)
    assert model.calls == 2 * calls
    assert len(raw.calls) == 2


def test_the_tracked_row_is_comfyuis_first_condition() -> None:
    assert Rows.of((7, 7)).tracked == 1  # one batch, the negative first
    assert Rows.of((7, 9)).tracked == 0  # two calls, the positive first
    assert Rows.of((7, 9)).norm_rows == slice(0, 1)


def test_easycache_waits_two_evaluations_and_then_skips() -> None:
    cache = EasyCacheSkipper(threshold=10.0, window=(0.8, 0.2))
    model, raw = guided(1.0, (7,), cache)
    for sigma in (0.9, 0.7, 0.6, 0.5, 0.4, 0.2, 0.1):
        model(X * sigma, sigma)
    assert raw.calls == [0.9, 0.7, 0.6, 0.2, 0.1]
    assert model.skipped_calls == [3, 4]


def test_a_skipped_evaluation_gives_the_input_plus_the_last_difference() -> None:
    cache = EasyCacheSkipper(threshold=10.0, window=(1.0, 0.0))
    model = RowModel()
    cache(model, X, 0.9)
    cache(model, 2.0 * X, 0.8)
    before = (3.0 * X).clone()
    given = before.clone()
    velocity, skipped = cache(model, given, 0.7)
    assert skipped
    torch.testing.assert_close(velocity, 3.0 * X + (2.0 * X - 2.0 * X))
    torch.testing.assert_close(given, before, rtol=0, atol=0)  # a private copy: the input is left alone


def test_the_predicted_change_adds_up_until_it_passes_the_threshold() -> None:
    # v = x, so the rate is 1 and each step of size d predicts d / |v|.
    cache = EasyCacheSkipper(threshold=0.25, window=(1.0, 0.0))
    model = RowModel()
    ones = torch.ones(1, 16, 16, 16)
    skipped = [cache(model, value * ones, 0.5)[1] for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)]
    # 1.1 ran; 0.1/1.1 = 0.09: skip; + 0.2/1.1 = 0.27: run; from 1.3: 0.077, + 0.154: skip both.
    assert skipped == [False, False, True, False, True, True]


def test_one_decision_serves_both_rows_each_with_its_own_difference() -> None:
    cache = EasyCacheSkipper(threshold=10.0, window=(1.0, 0.0), tracked=0, norm_rows=slice(0, 1))
    model, raw = guided(2.0, (7, 9), cache)
    model(X, 0.9)
    model(2.0 * X, 0.8)
    result = model(3.0 * X, 0.5)
    assert len(raw.calls) == 2
    assert model.skipped_calls == [4, 5]
    positive = 3.0 * X - 0.5 * (3.0 * X + 0.0 * X)
    negative = 3.0 * X - 0.5 * (3.0 * X + 2.0 * X)
    torch.testing.assert_close(result, negative + 2.0 * (positive - negative))


class Prepared:
    """A text that the model was given."""

    def __init__(self, text: TextFeatures) -> None:
        self.text = text
        self.tokens = text.features.shape[0]


class Asked:
    """Keeps what the transformer was made ready for."""

    def __init__(self) -> None:
        self.texts: list[tuple[TextFeatures, ...]] = []
        self.sigmas: list[Sequence[float]] = []
        self.guided: list[bool] = []

    def __call__(
        self, prompts: Sequence[PreparedPrompt], sigmas: Sequence[float], guidance: AttentionGuidance | None
    ) -> Evaluation:
        self.texts.append(tuple(prompt.text for prompt in prompts if isinstance(prompt, Prepared)))
        self.sigmas.append(sigmas)
        self.guided.append(guidance is not None)
        return RowModel()


LEVELS = (1.0, as_float32(0.9), 0.75, 0.5)


def modes_of(*, negative: bool = True, **settings: Any) -> tuple[Modes, Asked, StageTexts]:
    stage = Stage(steps=4, **settings)
    (plan,) = make_plan(GenerationRequest(prompt="x", stages=(stage,), seed=1), Z_IMAGE_TURBO).stages
    texts = StageTexts(
        TextFeatures("prompt", torch.randn(12, 4)), TextFeatures("negative", torch.randn(20, 4)) if negative else None
    )
    asked = Asked()
    return Modes(plan, texts, LEVELS, Prepared, asked), asked, texts


def test_each_mode_is_made_once_for_its_own_noise_levels() -> None:
    modes, asked, _ = modes_of(nag=Nag(sigma_start=0.9, sigma_end=0.75))
    used = [modes(sigma) for sigma in LEVELS]
    assert used[0] is used[3]
    assert used[1] is used[2]
    assert asked.sigmas == [[LEVELS[0], LEVELS[3]], [LEVELS[1], LEVELS[2]]]
    assert asked.guided == [False, True]


def test_nag_and_ranges_of_cfg_do_not_share_a_cache() -> None:
    modes, _, _ = modes_of(cfg=2.0, cfg_end=0.75, easycache=Cache(window_shift=3.0))
    caches = [modes(sigma).cache for sigma in LEVELS]
    assert caches[0] is caches[2] is not caches[3]
    assert [modes(sigma).rows.count for sigma in LEVELS] == [2, 2, 2, 1]


def test_nag_of_scale_one_and_strength_zero_ask_for_nothing() -> None:
    modes, asked, texts = modes_of(nag=Nag(scale=1.0), variance=Variance(strength=0.0), negative=False)
    assert modes(1.0).rules == ()
    assert (asked.guided, asked.texts) == ([False], [(texts.positive,)])


def test_seed_variance_ends_and_leaves_the_negative_prompt_alone() -> None:
    modes, asked, texts = modes_of(cfg=2.0, variance=Variance(strength=0.5, end=0.2))
    modes(1.0)
    modes(0.5)
    (varied, negative), (plain, _) = asked.texts
    assert plain is texts.positive
    assert negative is texts.negative
    assert not torch.equal(varied.features, plain.features)


def test_phrases_stand_before_the_end_of_the_chat_template() -> None:
    features, phrase = torch.randn(12, 4), torch.randn(10, 4)
    texts = StageTexts(TextFeatures("prompt", features), None, ((phrase, -0.5),))
    text = NegPipRule(texts).text(texts.positive)
    assert torch.equal(text.features, torch.cat([features[:7], phrase[3:5], features[7:]]))
    assert text.value_scale is not None
    assert text.value_scale.tolist() == [1.0] * 7 + [-0.5] * 2 + [1.0] * 5


def test_a_velocity_that_is_short_enough_is_not_limited() -> None:
    rule = LimitRule(CfgLimit(of="velocity", most=1.0))
    positive, longer = X + 1.0, X + 3.0
    torch.testing.assert_close(rule.limited(longer, positive, X), X + 1.0)
    torch.testing.assert_close(rule.limited(X + 0.5, positive, X), X + 0.5)
