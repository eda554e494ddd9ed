"""Every sampler against ComfyUI's numbers, step by step, and against problems whose answers are known."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.noise import ZERO_NOISE
from zimage_app.engine.samplers import SAMPLERS, SamplerInput, SamplerRun, SamplerStep, expected_calls

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "samplers_manifest.json").read_text(encoding="utf-8"))
CASES = {name: case for name, case in MANIFEST["samplers"].items() if case["A"].get("base", name) in SAMPLERS}
PAIRS = [(name, schedule) for name in CASES for schedule in "AB"]
NOISY = [name for name, traits in SAMPLER_TRAITS.items() if "s_noise" in traits.options] + ["ddpm", "lcm"]


def drain(run: SamplerRun) -> tuple[list[SamplerStep], Tensor]:
    """All steps and the final latent."""
    steps: list[SamplerStep] = []
    while True:
        try:
            steps.append(next(run))
        except StopIteration as end:
            final: Tensor = end.value
            return steps, final


def linear_sigmas(start: float, steps: int) -> Tensor:
    return torch.linspace(start, 0.0, steps + 1)


@dataclass
class Toy:
    """The goldens' denoiser, which remembers what it was asked."""

    asked: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.asked.append(sigma)
        return 0.5 * x + 0.1 * torch.tanh(x) * sigma


@dataclass(frozen=True)
class Gaussian:
    """The exact denoiser of data drawn from N(0, spread^2), noised as flow models do."""

    spread: float = 0.4

    def scale(self, sigma: float) -> float:
        """Standard deviation at a noise level; the probability flow stretches every latent in proportion to it."""
        return math.hypot((1 - sigma) * self.spread, sigma)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return x * ((1 - sigma) * self.spread**2 / self.scale(sigma) ** 2)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "samplers.safetensors")


@dataclass(frozen=True)
class Outcome:
    expected: dict[str, Any]
    asked: list[float]
    steps: list[SamplerStep]
    final: Tensor


def replay(name: str, schedule: str, golden: dict[str, Tensor]) -> Outcome:
    """Run one golden case."""
    expected, setting = CASES[name][schedule], MANIFEST["schedules"][schedule]
    sigmas = torch.tensor(setting["sigmas"])
    latent = golden["latent_B"] if schedule == "B" else torch.zeros_like(golden["A.noise"])
    x = sigmas[0] * golden[f"{schedule}.noise"] + (1 - sigmas[0]) * latent
    toy = Toy()
    stage = Stage(shift=setting["shift"], **expected.get("options", {}))
    task = SamplerInput(toy, sigmas, stage, setting["seed"], setting["shift"])
    steps, final = drain(SAMPLERS[expected.get("base", name)](task, x))
    return Outcome(expected, toy.asked, steps, final)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2."""
    return float((ours - theirs).norm() / theirs.norm())


def tolerance(name: str) -> float:
    # uni_pc's last noise share is a difference of nearly equal float32 numbers (HOW-IT-COMPUTES.md section 4.3).
    return 2e-4 if name.startswith("uni_pc") else 2e-6


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_results_are_comfyuis(name: str, schedule: str, golden: dict[str, Tensor]) -> None:
    outcome, bound = replay(name, schedule, golden), tolerance(name)
    expected = outcome.expected
    assert len(outcome.asked) == expected["evals"]
    if "eval_sigmas" in expected:
        assert outcome.asked == expected["eval_sigmas"]
        assert len(outcome.steps) == expected["callback_steps"]
    assert float(outcome.final.mean()) == pytest.approx(expected["mean"], rel=0.0, abs=1e-6)
    assert float(outcome.final.std()) == pytest.approx(expected["std"], rel=bound)
    assert float(outcome.final.norm()) == pytest.approx(expected["l2"], rel=bound)


STORED = ["euler", "euler_ancestral", "heun", "dpm_2", "lcm", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"]
STORED += ["res_multistep", "er_sde", "uni_pc"]


@pytest.mark.parametrize("name", STORED)
def test_every_step_is_comfyuis(name: str, golden: dict[str, Tensor]) -> None:
    outcome = replay(name, "A", golden)
    for step in outcome.steps:
        assert distance(step.x, golden[f"A.{name}.x_at_callback{step.index}"]) <= tolerance(name)
    assert distance(outcome.final, golden[f"A.{name}.final"]) <= tolerance(name)


@pytest.mark.parametrize("name", [*STORED, *(name for name in CASES if "." in name)])
def test_final_latents_are_comfyuis(name: str, golden: dict[str, Tensor]) -> None:
    assert distance(replay(name, "B", golden).final, golden[f"B.{name}.final"]) <= tolerance(name)


def test_the_third_stage_asks_for_the_references_levels() -> None:
    manifest = json.loads((GOLDEN / "e2e_manifest.json").read_text(encoding="utf-8"))
    stage = manifest["variants"]["i_default"]["modes"]["on"]["stage3"]
    foreseen = expected_calls("dpmpp_sde", stage["sigmas"], Stage(shift=7.0), 7.0).levels
    assert list(foreseen) == stage["call_sigmas"]


def test_the_table_and_the_catalogue_have_the_same_names() -> None:
    assert list(SAMPLERS) == list(SAMPLER_TRAITS)


def test_every_name_has_a_golden() -> None:
    assert set(SAMPLERS) <= set(CASES)


def run(name: str, sigmas: Tensor, x: Tensor, denoise: Callable[[Tensor, float], Tensor], **options: Any) -> Tensor:
    return drain(SAMPLERS[name](SamplerInput(denoise, sigmas, Stage(**options), 5, 3.0), x))[1]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("steps", "start"), [(1, 1.0), (2, 1.0), (3, 0.7), (4, 1.0), (9, 0.7)])
def test_any_number_of_steps_runs_as_foreseen(name: str, steps: int, start: float) -> None:
    sigmas, toy = linear_sigmas(start, steps), Toy()
    given, x = sigmas.clone(), torch.randn(2, 16, 3, 5, generator=torch.Generator().manual_seed(1))
    kept = x.clone()
    before = torch.random.get_rng_state()
    seen, final = drain(SAMPLERS[name](SamplerInput(toy, sigmas, Stage(), 5, 3.0), x))
    assert torch.isfinite(final).all()
    assert final.shape == x.shape
    assert [step.index for step in seen] == list(range(steps))
    assert expected_calls(name, given.tolist(), Stage(), 3.0).levels == tuple(toy.asked)
    most = SAMPLER_TRAITS[name].evaluations
    assert len(toy.asked) <= most * (steps - 1) + 1
    assert torch.equal(sigmas, given)
    assert torch.equal(x, kept)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_exactly_the_options_in_the_catalogue_have_an_effect(name: str) -> None:
    sigmas, x = linear_sigmas(0.9, 4), torch.randn(1, 16, 3, 5, generator=torch.Generator().manual_seed(1))
    plain = run(name, sigmas, x, Toy())
    others: dict[str, Any] = {"eta": 0.6, "s_noise": 0.9, "r": 0.4, "solver_type": "heun"}
    read = {
        option
        for option, value in others.items()
        if not torch.equal(run(name, sigmas, x, Toy(), **{option: value}), plain)
    }
    assert read == SAMPLER_TRAITS[name].options


@pytest.mark.parametrize("name", NOISY)
def test_noise_follows_the_seed(name: str) -> None:
    sigmas, x = linear_sigmas(0.9, 3), torch.ones(1, 16, 3, 5)
    results = [
        drain(SAMPLERS[name](SamplerInput(Toy(), sigmas, Stage(), seed, 3.0), x))[1] for seed in (2**63, 2**63, 9)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_latent_on_another_device_meets_only_scalars(name: str) -> None:
    # The meta device has no numbers, and mixes with the CPU's tensors only where they are 0-dim, as CUDA does.
    task = SamplerInput(lambda x, _sigma: x, linear_sigmas(1.0, 5), Stage(), 5, 3.0, ZERO_NOISE)
    seen, final = drain(SAMPLERS[name](task, torch.zeros(1, 16, 2, 2, device="meta")))
    assert {tensor.device.type for tensor in (final, *(step.x for step in seen))} == {"meta"}


def test_ancestral_euler_without_noise_is_euler() -> None:
    sigmas, x = linear_sigmas(1.0, 7), torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    for name in ("euler_ancestral", "ddim"):
        torch.testing.assert_close(
            run(name, sigmas, x, Toy(), eta=0.0), run("euler", sigmas, x, Toy()), rtol=0, atol=1e-6
        )


def error_at_the_last_level(name: str, steps: int) -> float:
    """How far the latent is from the exact flow before the last step, relative; 0.9 down to 0.2, evenly in sigma."""
    gaussian = Gaussian()
    sigmas = torch.cat([torch.linspace(0.9, 0.2, steps + 1), torch.zeros(1)])
    x = torch.linspace(-2.0, 2.0, 64).reshape(1, 16, 2, 2)
    seen, _ = drain(SAMPLERS[name](SamplerInput(gaussian, sigmas, Stage(eta=0.0), 5, 3.0), x))
    exact = x * (gaussian.scale(0.2) / gaussian.scale(0.9))
    return distance(seen[-1].x, exact)


ORDERS = {"euler": 1, "euler_ancestral": 1, "ddim": 1, "seeds_2": 2, "heun": 2, "dpm_2": 2, "dpm_2_ancestral": 2}
ORDERS |= {"dpmpp_2s_ancestral": 2, "dpmpp_sde": 2, "dpmpp_2m": 2, "dpmpp_2m_sde": 2, "res_multistep": 2}
ORDERS |= {"res_multistep_ancestral": 2, "exp_heun_2_x0": 2}


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_the_exact_flow_is_approached_with_the_solvers_order(name: str, order: int) -> None:
    coarse, fine = error_at_the_last_level(name, 32), error_at_the_last_level(name, 128)
    # dpmpp_2m_sde comes nearer than its order asks.
    assert order - 0.15 < math.log(coarse / fine, 4) < order + 0.6
    assert fine < 0.01


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_unipc_comes_closer_to_the_end_than_euler(name: str) -> None:
    gaussian = Gaussian()
    sigmas, x = linear_sigmas(0.9, 16), torch.linspace(-2.0, 2.0, 64).reshape(1, 16, 2, 2)
    exact = x * (gaussian.scale(0.0) / gaussian.scale(0.9))
    errors = [distance(run(one, sigmas, x, gaussian), exact) for one in (name, "euler")]
    assert errors[0] < errors[1] / 5


@pytest.mark.parametrize("name", ["dpmpp_3m_sde", "lms", "deis", "seeds_3", "ipndm", "ipndm_v"])
def test_solvers_of_higher_order_come_closer_than_the_second(name: str) -> None:
    assert error_at_the_last_level(name, 16) < error_at_the_last_level("dpmpp_2m", 16)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "seeds_2", "seeds_3", "er_sde"])
def test_fresh_noise_keeps_the_spread_that_the_level_has(name: str) -> None:
    gaussian = Gaussian()
    sigmas = torch.cat([torch.linspace(0.9, 0.3, 25), torch.zeros(1)])
    x = gaussian.scale(0.9) * torch.randn(1, 16, 40, 40, generator=torch.Generator().manual_seed(3))
    seen, _ = drain(SAMPLERS[name](SamplerInput(gaussian, sigmas, Stage(), 5, 3.0), x))
    assert float(seen[-1].x.std()) == pytest.approx(gaussian.scale(0.3), rel=0.03)


def test_a_run_may_be_carried_on_by_another_thread() -> None:
    sigmas, x = linear_sigmas(0.9, 4), torch.ones(1, 16, 3, 5)
    for name in ("dpmpp_sde", "euler_ancestral", "uni_pc"):
        started = SAMPLERS[name](SamplerInput(Toy(), sigmas, Stage(), 5, 3.0), x)
        results: list[Tensor] = []
        for advance in alternating(started, results):
            thread = threading.Thread(target=advance)
            thread.start()
            thread.join()
        assert torch.equal(results[0], run(name, sigmas, x, Toy()))


def alternating(started: SamplerRun, results: list[Tensor]) -> Iterator[Callable[[], None]]:
    """One step per call, until the result is there."""

    def advance() -> None:
        try:
            next(started)
        except StopIteration as end:
            results.append(end.value)

    while not results:
        yield advance
