"""Noise against ComfyUI's draws, and what seeds and devices promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.plan import stage_plans
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.noise import (
    SEEDED,
    ZERO_NOISE,
    IntervalNoise,
    NoiseSources,
    brownian_noise,
    initial_noise,
    prefetched_noise,
    step_noise,
)
from zimage_app.engine.samplers import SAMPLERS, SamplerInput, expected_calls

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")
SEEDS = [0, 1, 905124181980574, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "samplers.safetensors")


@pytest.fixture(scope="module")
def sources() -> dict[str, dict[str, object]]:
    manifest = json.loads((GOLDEN / "samplers_manifest.json").read_text(encoding="utf-8"))
    return dict(manifest["noise_sources"])


@pytest.mark.parametrize("seed", SEEDS)
def test_initial_noise_is_the_global_generators_after_manual_seed(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = torch.randn((2, 16, 5, 3), dtype=torch.float32)
    assert torch.equal(initial_noise((2, 16, 5, 3), seed), expected)


def test_initial_noise_is_the_goldens(golden: dict[str, Tensor]) -> None:
    assert torch.equal(initial_noise((1, 16, 28, 22), 905124181980574), golden["A.noise"])
    assert torch.equal(initial_noise((1, 16, 28, 22), 894355038471848), golden["B.noise"])


def test_step_noise_is_the_goldens(golden: dict[str, Tensor], sources: dict[str, dict[str, int]]) -> None:
    draw = step_noise(golden["A.noise"], sources["default"]["seed"])
    assert torch.equal(draw(), golden["noise.default0"])
    assert torch.equal(draw(), golden["noise.default1"])


def test_step_noise_is_not_the_initial_noise_again() -> None:
    first = initial_noise((1, 16, 4, 4), 7)
    assert not torch.equal(step_noise(first, 7)(), first)


def test_the_highest_seed_is_followed_by_zero() -> None:
    x = torch.zeros(1, 16, 4, 4)
    assert torch.equal(step_noise(x, 2**64 - 1)(), initial_noise((1, 16, 4, 4), 0))


def test_brownian_noise_is_the_goldens(golden: dict[str, Tensor], sources: dict[str, dict[str, object]]) -> None:
    source = sources["brownian"]
    sigmas = torch.tensor([source["sigma_max"], source["sigma_min"], 0.0])
    seed, queries = source["seed"], source["queries"]
    assert isinstance(seed, int)
    assert isinstance(queries, list)
    draw = brownian_noise(golden["A.noise"], sigmas, seed, CPU)
    for k, (sigma, sigma_next) in enumerate(queries):
        noise = draw(torch.tensor(sigma), torch.tensor(sigma_next))
        torch.testing.assert_close(noise, golden[f"noise.brownian{k}"], rtol=1e-6, atol=1e-7)


def test_brownian_increments_add_up_and_repeat() -> None:
    draw = brownian_noise(torch.zeros(1, 16, 8, 8), torch.tensor([0.9, 0.1, 0.0]), 5, CPU)
    high, middle, low = (torch.tensor(sigma) for sigma in (0.8, 0.55, 0.3))
    whole = draw(high, low)
    parts = draw(high, middle) * (high - middle).sqrt() + draw(middle, low) * (middle - low).sqrt()
    torch.testing.assert_close(parts / (high - low).sqrt(), whole, rtol=0.0, atol=2e-6)
    assert torch.equal(draw(high, low), whole)


def test_noise_that_is_drawn_ahead_is_the_same_in_any_order() -> None:
    x, sigmas = torch.zeros(1, 16, 8, 8), torch.tensor([0.9, 0.1, 0.0])
    levels = [0.9, 0.7, 0.55, 0.4, 0.3, 0.1]
    intervals = [(high, low) for place, high in enumerate(levels) for low in levels[place + 1 :]]
    asked = intervals[::2] + intervals[1::2][::-1]  # not as foreseen, and some twice
    plain, ahead = brownian_noise(x, sigmas, 5, CPU), brownian_noise(x, sigmas, 5, CPU, intervals)
    for high, low in (*intervals, *asked):
        ends = torch.tensor(high), torch.tensor(low)
        assert torch.equal(ahead(*ends), plain(*ends))


@pytest.mark.parametrize("name", ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_a_sampler_asks_for_the_increments_that_were_foreseen(name: str) -> None:
    settings, sigmas = Stage(sampler=name), torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])
    intervals = expected_calls(name, sigmas, settings, settings.shift).intervals
    asked: list[tuple[float, float]] = []

    def brownian(x: Tensor, levels: Tensor, seed: int, device: torch.device) -> IntervalNoise:
        draw = prefetched_noise(intervals).brownian(x, levels, seed, device)

        def noted(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            asked.append((float(sigma), float(sigma_next)))
            return draw(sigma, sigma_next)

        return noted

    def final(noise: NoiseSources) -> Tensor:
        task = SamplerInput(lambda x, sigma: x * (1.0 - sigma), sigmas, settings, 7, settings.shift, noise)
        run = SAMPLERS[name](task, torch.ones(1, 4, 6, 6))
        while True:
            try:
                next(run)
            except StopIteration as end:
                result: Tensor = end.value
                return result

    assert torch.equal(final(NoiseSources(step_noise, brownian)), final(SEEDED))
    assert tuple(asked) == intervals
    assert len(intervals) >= 3


def test_brownian_noise_takes_all_bits_of_the_seed() -> None:
    x, sigmas = torch.zeros(1, 16, 4, 4), torch.tensor([0.9, 0.1, 0.0])
    ends = sigmas[0], sigmas[1]
    drawn = [brownian_noise(x, sigmas, seed, CPU)(*ends) for seed in (3, 3 + 2**32, 2**63 + 3, 2**64 - 1)]
    for k, one in enumerate(drawn):
        assert torch.isfinite(one).all()
        assert not any(torch.equal(one, other) for other in drawn[:k])


def test_brownian_noise_at_the_ends_of_the_range_gives_no_warning() -> None:
    # Both ends lie outside the range that torchsde rounds to; warnings are errors in this run.
    sigmas = torch.tensor([0.9308811, 0.0597718, 0.0])
    assert torch.isfinite(brownian_noise(torch.zeros(1, 2, 2, 2), sigmas, 1, CPU)(sigmas[0], sigmas[1])).all()


def test_no_draw_moves_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    x = initial_noise((1, 16, 4, 4), 1)
    step_noise(x, 1)()
    sigmas = torch.tensor([0.9, 0.1, 0.0])
    brownian_noise(x, sigmas, 1, CPU)(sigmas[0], sigmas[1])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_silent_sources_draw_zeros() -> None:
    x = torch.ones(1, 2, 2, 2)
    assert not ZERO_NOISE.step(x, 1)().any()
    assert not ZERO_NOISE.brownian(x, torch.tensor([0.9, 0.0]), 1, CPU)(torch.tensor(0.9), torch.tensor(0.1)).any()


@pytest.mark.parametrize("ahead", [True, False])
def test_noise_levels_too_close_to_draw_between_are_told(ahead: bool) -> None:
    """torchsde halves an interval until it meets the time that is asked for."""
    stage = Stage(sampler="dpmpp_2m_sde", scheduler="flow_match_exponential", steps=60, denoise=0.01, shift=0.5)
    sigmas = torch.tensor(stage_plans([(0, stage, 5)], 3.0)[0].sigmas)
    intervals = expected_calls(stage.sampler, sigmas, stage, stage.shift).intervals
    noise = brownian_noise(torch.zeros(1, 1, 1, 1), sigmas, 5, CPU, intervals if ahead else ())
    with pytest.raises(GenerationError, match="too close together"):
        _ = [noise(*map(torch.tensor, ends)) for ends in intervals]
