"""Hand-over between stages: the spectral rule against SGLang's numbers, and runs that are one trajectory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.engine.test_samplers import Gaussian, drain
from tests.golden.make_tiny_weights import tiny_weights
from tests.tools.test_run_case import CONFIG, relative_l2
from tools.run_case import run_case
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import StagePlan, make_plan
from zimage_app.domain.plan_summary import plan_numbers
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import SCHEDULERS, shifted
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.trajectory import Takeover, growth, raised, switch_sigma
from zimage_app.engine.handover import HANDOVERS
from zimage_app.engine.noise import ZERO_NOISE, initial_noise
from zimage_app.engine.samplers import SAMPLERS, SamplerInput
from zimage_app.engine.start import to_model_space, to_vae_space
from zimage_app.models.components import LatentFormat

GOLDEN = Path(__file__).parents[1] / "golden"
FORM = LatentFormat()
SEED = 905124181980574


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "spectral.safetensors")


def one_trajectory(*sizes: tuple[int, int], delta: float = 0.1, **more: Any) -> tuple[Stage, ...]:
    """Stages for latents of these (height, width)."""
    settings = {"steps": 9, "sampler": "euler", "shift": 3.0, "handover": "spectral", "delta": delta} | more
    return tuple(Stage(width=8 * width, height=8 * height, seed=SEED, **settings) for height, width in sizes)


def plans(*stages: Stage) -> tuple[StagePlan, ...]:
    return make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), Z_IMAGE_TURBO).stages


def test_every_rule_is_in_the_table() -> None:
    assert list(HANDOVERS) == list(HANDOVER_TRAITS)


# The arithmetic.


def test_switches_are_sglangs() -> None:
    """There every stage has twice the sides of the one before; ``sigmas`` begins with 1, where the first begins."""
    switches = json.loads((GOLDEN / "spectral_manifest.json").read_text(encoding="utf-8"))["switches"]
    for case in switches:
        for level, sigma in enumerate(case["sigmas"][1:]):
            divisor = 2 ** (case["levels"] - level)
            size = (case["H"] // divisor, case["W"] // divisor)
            assert switch_sigma(size, case["delta"]) == pytest.approx(sigma, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "given", "size", "sigma", "seed"),
    [
        ("hand.0.71.out_first_4_channels", "hand.x", (56, 44), 0.7145714163780212, 905124181990574),
        ("hand.0.90.out_first_4_channels", "hand.x", (56, 44), 0.9, 905124181990574),
        ("hand.28x22_54x42.out_first_4_channels", "hand.x", (54, 42), 0.7145714163780212, 905124181990574),
        ("odd.out", "odd.x", (54, 42), 0.6, 7),
    ],
)
def test_a_latent_is_handed_over_as_there(
    name: str, given: str, size: tuple[int, int], sigma: float, seed: int, golden: dict[str, Tensor]
) -> None:
    x = golden[given]
    noise = initial_noise((1, x.shape[1], *size), seed)
    settings = Stage(width=8 * size[1], height=8 * size[0], handover="spectral")
    level = raised(sigma, growth((x.shape[-2], x.shape[-1]), size))
    stage = StagePlan(1, settings, (level, 0.0), 1, None, Takeover(sigma, seed))
    begun = HANDOVERS["spectral"](to_vae_space(x, FORM), noise, stage, FORM)
    assert relative_l2(begun[:, : golden[name].shape[1]], golden[name]) < 1e-6


def test_sides_that_double_raise_the_level_as_there() -> None:
    assert raised(0.7145714163780212, 2.0) == pytest.approx(0.833527737080245, rel=1e-12)
    assert raised(0.9, 1.0) == 0.9
    assert growth((28, 22), (54, 42)) == pytest.approx(1.9188064472004938, rel=1e-12)


def test_what_is_handed_over_keeps_the_scale_of_picture_and_noise() -> None:
    """A flat picture z under noise of level s becomes the flat picture z under noise of the raised level."""
    height, width, sigma, flat = 16, 12, 0.8, 2.0
    noise = initial_noise((1, 16, height, width), 3)
    x = (1.0 - sigma) * flat + sigma * noise
    level = raised(sigma, growth((height, width), (40, 28)))
    settings = Stage(width=224, height=320, handover="spectral")
    stage = StagePlan(1, settings, (level, 0.0), 1, None, Takeover(sigma, 4))
    begun = HANDOVERS["spectral"](to_vae_space(x, FORM), initial_noise((1, 16, 40, 28), 4), stage, FORM)
    assert float(begun.mean()) == pytest.approx((1.0 - level) * flat, abs=0.05)
    assert float(begun.std()) == pytest.approx(level, rel=0.02)


# The plan.


def test_the_stages_share_one_list() -> None:
    first, second, third = plans(*one_trajectory((28, 22), (54, 42), (108, 84)))
    whole = plans(one_trajectory((108, 84))[0])[0].sigmas
    assert first.sigmas == whole[:4]
    assert second.takeover == Takeover(whole[3], SEED + 10_000)
    assert second.sigmas[0] == pytest.approx(raised(whole[3], growth((28, 22), (54, 42))))
    assert second.sigmas[1:] == whole[4:6]
    assert third.takeover == Takeover(whole[5], SEED + 20_000)
    assert third.sigmas[1:] == whole[6:]
    assert [stage.finishes for stage in (first, second, third)] == [False, False, True]
    assert [stage.steps for stage in (first, second, third)] == [3, 2, 4]


def test_a_lower_delta_changes_over_earlier() -> None:
    sizes = ((28, 22), (54, 42), (108, 84))
    steps = [[stage.steps for stage in plans(*one_trajectory(*sizes, delta=delta))] for delta in (0.01, 0.1, 0.2)]
    assert [each[-1] for each in steps] == sorted((each[-1] for each in steps), reverse=True)
    assert all(sum(each) == 9 for each in steps)


def test_a_threshold_that_is_not_reached_leaves_the_next_size_the_last_step() -> None:
    first, second = plans(*one_trajectory((28, 22), (54, 42), delta=0.5, steps=3))
    assert (first.steps, second.steps) == (2, 1)


def test_stages_are_described_as_parts_of_one_list() -> None:
    request = GenerationRequest(prompt="x", seed=1, stages=one_trajectory((28, 22), (54, 42), (108, 84)))
    stages = plan_numbers(make_plan(request, Z_IMAGE_TURBO)).stages
    assert [{title.en: value.en for title, value in stage.lines}["Steps"] for stage in stages] == [
        "3 of 9",
        "2 of 9",
        "the last 4 of 9",
    ]
    assert stages[0].lines[0][1].en == "1 → 0.913 → 0.857"


def test_the_first_stage_that_runs_has_nothing_to_take_over() -> None:
    first, second = one_trajectory((28, 22), (54, 42))
    (alone,) = plans(first.model_copy(update={"enabled": False}), second)
    assert alone.takeover is None
    assert alone.handover == "resize"
    assert alone.sigmas[0] == 1.0


def test_a_stage_after_a_trajectory_begins_its_own() -> None:
    *_, last = plans(*one_trajectory((28, 22), (54, 42)), Stage(width=672, height=864, steps=4, denoise=0.5))
    assert last.takeover is None
    assert last.steps == 4


@pytest.mark.parametrize(
    ("stages", "field", "words"),
    [
        (one_trajectory((28, 22), (54, 42), (54, 42), delta=0.3, steps=2), "stages.2.delta", "no step"),
        (one_trajectory((54, 42), (28, 22)), "stages.1.handover", "not smaller"),
    ],
    ids=["two at one step", "smaller"],
)
def test_what_cannot_be_taken_over_is_named(stages: tuple[Stage, ...], field: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        plans(*stages)
    assert caught.value.field == field


def test_defaults_change_nothing() -> None:
    assert all(stage.handover == "resize" and stage.takeover is None for stage in plans(*REFERENCE_STAGES))


# Samplers whose list does not end at 0.


@pytest.mark.parametrize("name", list(SAMPLER_TRAITS))
@pytest.mark.parametrize("steps", [1, 4])
def test_a_cut_list_ends_where_a_whole_one_passes(name: str, steps: int) -> None:
    """Of a Gaussian the probability flow is known; samplers that add noise are run without it."""
    asked: list[float] = []
    exact = Gaussian()

    def denoise(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return exact(x, sigma)

    sigmas = torch.linspace(0.95, 0.0, 39)[: steps + 1]
    stage = Stage(sampler=name, s_noise=0.0, eta=0.0, steps=40, cfg=1.0)
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    seen, final = drain(SAMPLERS[name](SamplerInput(denoise, sigmas, stage, 5, 3.0, ZERO_NOISE), x))
    assert len(seen) == steps
    assert len(asked) == StagePlan(0, stage, tuple(sigmas.tolist()), 5, None).evaluations
    ratio = float(final.std() / x.std())
    assert torch.allclose(final, ratio * x, atol=1e-4)
    if name in ("ddpm", "lcm", "er_sde"):  # they have no flow: their noise is part of the step
        assert 0.0 < ratio < 1.0
    else:
        wanted = exact.scale(float(sigmas[-1])) / exact.scale(float(sigmas[0]))
        assert ratio == pytest.approx(wanted, rel=0.01)


# Whole runs on the tiny transformer.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    save_file(tiny_weights(), folder / "tiny.safetensors")
    return folder


def ran(folder: Path, stages: tuple[Stage, ...]) -> tuple[list[Tensor], list[int]]:
    """The latents in model space, and how many calls each stage took."""
    case = {
        "transformer": {"file": "tiny.safetensors", "config": CONFIG},
        "text": {"file": str(GOLDEN / "conds.safetensors"), "positive": "pos_4242"},
        "threads": 1,
        "stages": [stage.model_dump(mode="json") for stage in stages],
    }
    latents, counts = run_case(case, folder)
    return [to_model_space(each, FORM) for each in latents.values()], [each["calls"] for each in counts]


@pytest.fixture
def evenly(monkeypatch: pytest.MonkeyPatch) -> str:
    """The pipeline's own list as a scheduler: evenly spaced times, shifted."""
    monkeypatch.setitem(SCHEDULERS, "evenly", lambda shift, steps: shifted(shift, np.linspace(1.0, 0.0, steps + 1)))
    return "evenly"


def test_a_run_of_three_stages_is_sglangs(folder: Path, evenly: str, golden: dict[str, Tensor]) -> None:
    latents, calls = ran(folder, one_trajectory((14, 10), (28, 20), (56, 40), scheduler=evenly))
    assert calls == [1, 2, 6]
    for latent, name in zip(latents, ("before.0", "before.1", "x0"), strict=True):
        assert relative_l2(latent, golden[f"run.3stage.{name}"]) < 1e-5


def test_a_run_of_two_stages_is_sglangs(folder: Path, evenly: str, golden: dict[str, Tensor]) -> None:
    latents, calls = ran(folder, one_trajectory((28, 20), (56, 40), delta=0.02, scheduler=evenly))
    assert calls == [2, 7]
    assert relative_l2(latents[-1][:, :4], golden["run.2stage.x0"]) < 1e-5


def test_our_own_sizes_are_one_trajectory_too(folder: Path, evenly: str, golden: dict[str, Tensor]) -> None:
    latents, calls = ran(folder, one_trajectory((28, 22), (54, 42), (108, 84), scheduler=evenly))
    assert calls == [3, 2, 4]
    assert relative_l2(latents[-1][:, :2], golden["run.28x22_54x42_108x84.x0_first_2_channels"]) < 1e-5
