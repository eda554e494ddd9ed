"""Plans: seeds, windows, sizes and warnings."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from zimage_app.domain.card import FAMILY, Z_IMAGE, Z_IMAGE_TURBO, ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import StagePlan, draw_seed, make_plan, running_stages, stage_seed
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import EasyCache, Nag, NegPip
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage


def test_the_default_request_is_the_reference_workflow() -> None:
    plan = make_plan(GenerationRequest(prompt="x", seed=42), Z_IMAGE_TURBO)
    assert plan.request.stages == REFERENCE_STAGES
    assert [stage.latent_size for stage in plan.stages] == [(28, 22), (54, 42), (108, 84)]
    assert [stage.steps for stage in plan.stages] == [9, 16, 16]
    assert plan.warnings == ()


def test_windows_are_those_of_a_full_reference_run() -> None:
    windows = [stage.window for stage in make_plan(GenerationRequest(prompt="x", seed=1), Z_IMAGE_TURBO).stages]
    assert windows[0] is None
    assert windows[1] == pytest.approx((0.785714, 0.136364), abs=1e-6)
    assert windows[2] == pytest.approx((0.75, 0.269231), abs=1e-6)


def test_a_window_can_be_asked_for() -> None:
    stage = REFERENCE_STAGES[1].model_copy(
        update={"easycache": EasyCache(threshold=0.37, start=0.45, end=0.95, window_shift=7.0)}
    )
    plan = make_plan(GenerationRequest(prompt="x", seed=1, stages=(REFERENCE_STAGES[0], stage)), Z_IMAGE_TURBO)
    assert plan.stages[1].window == pytest.approx((0.895349, 0.269231), abs=1e-6)


@pytest.mark.parametrize("end", [0.2, 0.4, 0.6, 0.8])
def test_a_noise_level_on_the_windows_end_is_outside_it(end: float) -> None:
    """ComfyUI compares float32 numbers; in float64 the table's 0.8 (0.800000012) would lie above the end's 0.8."""
    cached = Stage(steps=10, shift=1.0, easycache=EasyCache(start=0.1, end=end, window_shift=1.0))
    (stage,) = make_plan(GenerationRequest(prompt="x", seed=1, stages=(cached,)), Z_IMAGE_TURBO).stages
    level = stage.sigmas[round(10 * end)]
    assert level == pytest.approx(1.0 - end)
    assert stage.window is not None
    assert level <= stage.window[1]


def test_a_stage_that_is_off_leaves_no_trace_in_the_window() -> None:
    off = Stage(enabled=False, shift=50.0)
    cached = REFERENCE_STAGES[1]
    with_gap = make_plan(
        GenerationRequest(prompt="x", seed=1, stages=(REFERENCE_STAGES[0], off, cached)), Z_IMAGE_TURBO
    )
    assert [stage.number for stage in with_gap.stages] == [0, 2]
    assert with_gap.stages[1].window == pytest.approx((0.785714, 0.136364), abs=1e-6)


def test_seeds_follow_the_base_seed() -> None:
    plan = make_plan(GenerationRequest(prompt="x", seed=42), Z_IMAGE_TURBO)
    seeds = [stage.seed for stage in plan.stages]
    assert seeds[0] == 42
    assert seeds == [stage_seed(42, number) for number in range(3)]
    assert len(set(seeds)) == 3
    # Frozen: a changed rule would give every follower another picture.
    assert seeds[1:] == [834927827926957, 180043096443291]


def test_a_drawn_seed_is_settled_and_gives_the_same_plan_again() -> None:
    stages = (Stage(seed="random"), Stage(seed="follow", denoise=0.5), Stage(seed=7, denoise=0.5))
    numbers = count(100)
    plan = make_plan(GenerationRequest(prompt="x", stages=stages), Z_IMAGE_TURBO, lambda: next(numbers))
    assert plan.request.seed == 100
    assert [stage.seed for stage in plan.stages] == [101, stage_seed(100, 1), 7]
    again = make_plan(plan.request, Z_IMAGE_TURBO)
    assert again.stages == plan.stages
    assert again.request == plan.request


def test_drawn_seeds_fit_a_browsers_numbers() -> None:
    assert all(0 <= draw_seed() < 2**53 for _ in range(100))
    assert stage_seed(2**64 - 1, 7) < 2**53


def test_the_negative_prompt_that_cannot_work_is_said() -> None:
    stages = (Stage(cfg=1.0),)
    plan = make_plan(GenerationRequest(prompt="x", seed=1, stages=stages, negative="云"), Z_IMAGE_TURBO)
    assert "no effect" in plan.warnings[0].en
    guided = make_plan(GenerationRequest(prompt="x", seed=1, negative="云"), Z_IMAGE_TURBO)
    assert guided.warnings == ()


@pytest.mark.parametrize(
    ("card", "stage", "en", "zh"),
    [
        (Z_IMAGE_TURBO, Stage(steps=50), "50 steps (stage 1) are too many for Z-Image-Turbo; use 4–20", "50 步"),
        (Z_IMAGE_TURBO, Stage(cfg=4.5), "CFG 4.5 (stage 1) does not suit Z-Image-Turbo; use 1–2", "CFG 4.5"),
        (Z_IMAGE, Stage(steps=30, cfg=1.0), "CFG 1 (stage 1) does not suit Z-Image; use 3–5", "CFG 1"),
        (Z_IMAGE, Stage(steps=8, cfg=4.0), "8 steps (stage 1) are too few for Z-Image; use 25–50", "8 步"),
    ],
)
def test_settings_that_do_not_suit_the_model_are_said(card: ModelCard, stage: Stage, en: str, zh: str) -> None:
    (warning,) = make_plan(GenerationRequest(prompt="x", seed=1, stages=(stage,)), card).warnings
    assert warning.en == f"{en}."
    assert zh in warning.zh
    unknown = replace(card, limits=None)
    assert make_plan(GenerationRequest(prompt="x", seed=1, stages=(stage,)), unknown).warnings == ()


def test_stages_that_do_not_suit_share_one_sentence() -> None:
    stages = (Stage(cfg=3.0), Stage(cfg=1.0), Stage(cfg=3.0, denoise=0.5))
    (warning,) = make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), Z_IMAGE_TURBO).warnings
    assert "CFG 3 (stages 1, 3)" in warning.en
    assert "CFG 3（第 1、3 阶段）" in warning.zh


def test_steps_over_part_of_a_picture_count_for_more() -> None:
    stages = (Stage(steps=30, cfg=4.0), Stage(steps=16, cfg=4.0, denoise=0.6))
    assert make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), Z_IMAGE).warnings == ()


@pytest.mark.parametrize("card", FAMILY.values(), ids=list(FAMILY))
def test_a_models_own_presets_suit_it(card: ModelCard) -> None:
    for stages in (card.stages, card.single_stage):
        assert make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), card).warnings == ()
    (single,) = card.single_stage
    assert (single.width, single.height) == (672, 864)


def test_a_first_stage_that_starts_from_nothing_is_said() -> None:
    plan = make_plan(GenerationRequest(prompt="x", seed=1, stages=(Stage(denoise=0.5),)), Z_IMAGE_TURBO)
    assert "empty latent" in plan.warnings[0].en


def test_more_steps_than_a_schedule_can_tell_apart_are_refused() -> None:
    stage = Stage(scheduler="simple", steps=200, denoise=0.02)
    with pytest.raises(RequestError, match=r"stages\.0\.steps: 200 .* another scheduler"):
        make_plan(GenerationRequest(prompt="x", stages=(stage,)), Z_IMAGE_TURBO)


@pytest.mark.parametrize(
    ("scheduler", "sampler", "denoise"),
    [("simple", "euler", 0.02), ("simple", "dpm_2", 0.05), ("simple", "dpm_2", 0.1)],
)
def test_the_number_of_steps_that_a_refusal_offers_is_taken(scheduler: str, sampler: str, denoise: float) -> None:
    def plan(steps: int) -> None:
        stage = Stage(scheduler=scheduler, sampler=sampler, steps=steps, denoise=denoise)
        make_plan(GenerationRequest(prompt="x", stages=(stage,)), Z_IMAGE_TURBO)

    with pytest.raises(RequestError, match="use at most") as refused:
        plan(200)
    most = re.search(r"at most (\d+)", str(refused.value))
    assert most is not None
    plan(int(most[1]))
    with pytest.raises(RequestError):
        plan(int(most[1]) + 1)


def test_single_stage_goes_straight_to_the_final_size() -> None:
    (stage,) = Z_IMAGE_TURBO.single_stage
    assert (stage.width, stage.height, stage.denoise) == (672, 864, 1.0)


def test_negpip_takes_phrases_out_of_every_stages_text_and_subtracts_them_in_its_own() -> None:
    stages = (Stage(), Stage(negpip=NegPip(weight=0.5)), Stage(negpip=NegPip(weight=0.0)))
    request = GenerationRequest(prompt="a lake, (birds:-0.8)", negative="(云:1.2)", seed=1, stages=stages)
    plan = make_plan(request, Z_IMAGE_TURBO)
    assert [stage.text for stage in plan.stages] == ["a lake,  ", "a lake,  ,  ", "a lake,  "]
    phrases = [[(phrase.text, phrase.weight) for phrase in stage.phrases] for stage in plan.stages]
    assert phrases == [[], [("birds", -0.8), ("云", -0.6)], [("birds", -0.8)]]
    negatives = {("negative", "birds"), ("negative", "云")}
    assert set(plan.texts) == {("prompt", "a lake,  "), ("prompt", "a lake,  ,  ")} | negatives
    assert not [text for text in plan.warnings if "weights" in text.en or "no effect" in text.en]
    assert plan.request.prompt == request.prompt


def test_without_negpip_the_text_stays_and_is_said_to_be_plain() -> None:
    plan = make_plan(GenerationRequest(prompt="a lake, (birds:-0.8)", seed=1, stages=(Stage(),)), Z_IMAGE_TURBO)
    assert (plan.stages[0].text, plan.stages[0].phrases) == ("a lake, (birds:-0.8)", ())
    assert "weights mean nothing" in plan.warnings[0].en


def _plan(**settings: Any) -> StagePlan:
    return running_stages([(0, Stage(steps=4, **settings))])[0]


def test_cfg_costs_double_only_where_it_acts_and_nag_a_little() -> None:
    assert _plan(cfg=3.0).sigmas[:-1] == pytest.approx((1.0, 0.9, 0.75, 0.5))
    assert _plan(cfg=3.0).evaluations == 8
    assert _plan(cfg=3.0, cfg_end=0.9).evaluations == 6
    assert _plan(cfg=3.0, cfg_start=0.8).evaluations == 6
    plain, guided, half = _plan(), _plan(nag=Nag()), _plan(nag=Nag(sigma_end=0.9))
    assert plain.nag_extra == 0.0
    assert 0.10 < guided.nag_extra < 0.13
    assert half.nag_extra == pytest.approx(guided.nag_extra / 2)
    assert guided.cost == pytest.approx(plain.cost * (1 + guided.nag_extra))


def test_a_trajectory_is_guided_at_its_own_noise_levels() -> None:
    spectral = Stage(width=672, height=864, handover="spectral", nag=Nag(), negpip=NegPip(), cfg=2.0, cfg_end=0.5)
    request = GenerationRequest(prompt="a lake", negative="云", seed=1, stages=(Stage(width=336, height=432), spectral))
    first, second = make_plan(request, Z_IMAGE_TURBO).stages
    assert second.takeover is not None
    assert [(phrase.text, phrase.weight) for phrase in second.phrases] == [("云", -1.0)]
    assert first.phrases == ()
    assert second.conditions == tuple(2 if sigma >= 0.5 else 1 for sigma in second.sigmas[:-1])
    assert 1 < sum(second.conditions) / second.steps < 2
    assert second.nag_extra > 0.0
