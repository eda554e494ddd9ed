"""What settings mean in numbers: the reference workflow's, as HOW-IT-COMPUTES.md has them, and estimates by hand."""

from __future__ import annotations

import pytest

from tests.service.records import a_record
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.plan import StagePlan, make_plan
from zimage_app.domain.plan_summary import TimedStage, estimate, plan_numbers, seconds_words, timed_stages
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.samplers import expected_calls


def plan_of(*stages: Stage) -> tuple[StagePlan, ...]:
    return make_plan(GenerationRequest(prompt="x", stages=stages, seed=1), Z_IMAGE_TURBO).stages


def test_numbers_in_one_line() -> None:
    plan = make_plan(GenerationRequest(prompt="x", seed=1), Z_IMAGE_TURBO)
    assert plan_numbers(plan).summary().zh == "672×864 · 41 步"
    timed = [TimedStage(cells=84 * 108, cached=True, pace=1e-5)]
    assert plan_numbers(plan, timed).summary(4).en == "4 × 672×864 · 41 steps · about 13 s"
    assert plan_numbers(plan, timed).stages[0].summary.en == "176×224 · 9 steps · about 0.1 s"


def test_the_reference_workflow_in_numbers() -> None:
    first, second, third = plan_numbers(make_plan(GenerationRequest(prompt="x", seed=1), Z_IMAGE_TURBO)).stages
    assert (first.steps, first.scheduled, first.evaluations, first.conditions) == (9, 9, 18, 2)
    assert (second.steps, second.scheduled, second.evaluations) == (16, 22, 16)
    assert (third.steps, third.scheduled, third.evaluations) == (16, 26, 31)
    assert (first.sigma_from, first.sigma_to) == pytest.approx((1.0, 0.00892857), rel=1e-6)
    assert (third.sigma_from, third.sigma_to) == pytest.approx((0.930881143, 0.0597722903), rel=1e-6)
    assert [stage.latent for stage in (first, second, third)] == [(22, 28), (42, 54), (84, 108)]
    assert first.window is None
    assert second.window is not None
    assert third.window is not None
    # Stage 2's list is inside from its first step (0.7146 <= 0.7857) to the thirteenth (0.1437 > 0.1364).
    assert (second.window.steps, third.window.steps) == ((1, 13), (8, 14))
    assert second.window.sigma_from == pytest.approx(0.785714, abs=1e-6)
    assert third.window.sigma_to == pytest.approx(0.269231, abs=1e-6)
    words = {title.en: value.en for title, value in third.lines}
    assert words["Noise σ"] == "0.931 → 0.0598 → 0"
    assert words["Steps"] == "the last 16 of 26"
    assert words["Model evaluations"] == "at most 31"
    assert words["Time"] == "no run yet"


@pytest.mark.parametrize("sampler", list(SAMPLER_TRAITS))
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_evaluations_are_those_that_the_sampler_asks_for(sampler: str, steps: int) -> None:
    stage = Stage(sampler=sampler, steps=steps, cfg=1.0)
    (plan,) = plan_of(stage)
    asked = expected_calls(sampler, plan.sigmas, stage, stage.shift).levels
    assert plan.evaluations == len(asked)
    (guided,) = plan_of(stage.model_copy(update={"cfg": 2.0}))
    assert guided.evaluations == 2 * len(asked)


def test_a_window_without_a_step_says_so() -> None:
    stage = Stage(steps=2, easycache=EasyCache(start=0.97, end=0.98, window_shift=1.0))
    (means,) = plan_numbers(make_plan(GenerationRequest(prompt="x", stages=(stage,), seed=1), Z_IMAGE_TURBO)).stages
    assert means.window is not None
    assert means.window.steps is None
    assert "no step lies inside" in {title.en: value.en for title, value in means.lines}["EasyCache"]


def test_an_estimate_is_the_median_of_the_nearest_runs() -> None:
    plain, cached = plan_of(Stage(width=640, height=640), Stage(width=640, height=640, easycache=EasyCache()))
    runs = [
        TimedStage(80 * 80, False, 3e-4),
        TimedStage(80 * 80, False, 1e-4),
        TimedStage(80 * 80, False, 2e-4),
        TimedStage(20 * 20, False, 9.0),
        TimedStage(20 * 20, True, 5e-5),
    ]
    assert estimate(plain, runs) == pytest.approx(2e-4 * plain.cost)
    assert estimate(cached, runs) == pytest.approx(5e-5 * cached.cost)
    assert estimate(cached, runs[:4]) == pytest.approx(2e-4 * cached.cost)
    assert estimate(plain, []) is None


def test_a_finished_picture_gives_back_its_own_times() -> None:
    made = a_record()
    plans = make_plan(made.request, Z_IMAGE_TURBO).stages
    timed = timed_stages(made)
    assert len(timed) == len([stage for stage in made.stages if stage.seconds > 0])
    assert timed[0].pace * plans[0].cost == pytest.approx(made.stages[0].seconds)


def test_the_time_of_all_stages_is_known_when_each_is() -> None:
    request = GenerationRequest(prompt="x", seed=1)
    plan = make_plan(request, Z_IMAGE_TURBO)
    assert plan_numbers(plan).seconds is None
    known = plan_numbers(plan, [TimedStage(100, True, 1e-5)])
    assert known.seconds == pytest.approx(plan.cost * 1e-5)


@pytest.mark.parametrize(
    ("seconds", "zh"), [(None, "尚无记录"), (5.46, "约 5.5 秒"), (54.6, "约 55 秒"), (200.0, "约 3.3 分钟")]
)
def test_times_in_words(seconds: float | None, zh: str) -> None:
    assert seconds_words(seconds).zh == zh
