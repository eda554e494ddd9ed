"""CFG and EasyCache around a model with a closed-form answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zimage_app.domain.plan import conditions_for
from zimage_app.engine.guidance import EasyCache, GuidedModel, Rows

X = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(3))


class RowModel:
    """v = (row + 1) x: each condition has an answer of its own."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.calls.append(sigma)
        return x * torch.arange(1.0, x.shape[0] + 1).reshape(-1, 1, 1, 1)


def guided(cfg: float, tokens: tuple[int, ...], cache: EasyCache | None = None) -> tuple[GuidedModel, RowModel]:
    model = RowModel()
    return GuidedModel(model, cfg, Rows.of(tokens), torch.float32, cache), model


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
    cache = EasyCache(threshold=10.0, window=(0.8, 0.2))
    model, raw = guided(1.0, (7,), cache)
    for sigma in (0.9, 0.7, 0.6, 0.5, 0.4, 0.2, 0.1):
        model(X * sigma, sigma)
    assert raw.calls == [0.9, 0.7, 0.6, 0.2, 0.1]
    assert model.skipped_calls == [3, 4]


def test_a_skipped_evaluation_gives_the_input_plus_the_last_difference() -> None:
    cache = EasyCache(threshold=10.0, window=(1.0, 0.0))
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
    cache = EasyCache(threshold=0.25, window=(1.0, 0.0))
    model = RowModel()
    ones = torch.ones(1, 16, 16, 16)
    skipped = [cache(model, value * ones, 0.5)[1] for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)]
    # 1.1 ran; 0.1/1.1 = 0.09: skip; + 0.2/1.1 = 0.27: run; from 1.3: 0.077, + 0.154: skip both.
    assert skipped == [False, False, True, False, True, True]


def test_one_decision_serves_both_rows_each_with_its_own_difference() -> None:
    cache = EasyCache(threshold=10.0, window=(1.0, 0.0), tracked=0, norm_rows=slice(0, 1))
    model, raw = guided(2.0, (7, 9), cache)
    model(X, 0.9)
    model(2.0 * X, 0.8)
    result = model(3.0 * X, 0.5)
    assert len(raw.calls) == 2
    assert model.skipped_calls == [4, 5]
    positive = 3.0 * X - 0.5 * (3.0 * X + 0.0 * X)
    negative = 3.0 * X - 0.5 * (3.0 * X + 2.0 * X)
    torch.testing.assert_close(result, negative + 2.0 * (positive - negative))
