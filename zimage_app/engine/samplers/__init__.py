"""The samplers, under ComfyUI's names: generators of one signature. They take a denoiser, independent of the model.

A sampler is listed only after its results have been compared with ComfyUI's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.noise import ZERO_NOISE, Interval, IntervalNoise, NoiseSources
from zimage_app.engine.samplers.adams import (
    adams_bashforth,
    deis_weights,
    gradient_estimation,
    heunpp2,
    ipndm_v_weights,
    ipndm_weights,
    linear_multistep,
)
from zimage_app.engine.samplers.ancestral import (
    ddpm,
    dpm_2_ancestral,
    dpmpp_2s_ancestral,
    euler_ancestral,
    res_multistep_ancestral,
)
from zimage_app.engine.samplers.common import Denoiser, Sampler, SamplerInput, SamplerRun, SamplerStep
from zimage_app.engine.samplers.euler import dpm_2, euler, heun, lcm
from zimage_app.engine.samplers.multistep import dpmpp_2m, res_multistep
from zimage_app.engine.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, er_sde
from zimage_app.engine.samplers.seeds import seeds
from zimage_app.engine.samplers.uni_pc import uni_pc

__all__ = ["SAMPLERS", "Denoiser", "Sampler", "SamplerInput", "SamplerRun", "SamplerStep", "foresight"]

SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "heunpp2": heunpp2,
    "dpm_2": dpm_2,
    "dpm_2_ancestral": dpm_2_ancestral,
    "lms": linear_multistep(adams_bashforth, 4),
    "dpmpp_2s_ancestral": dpmpp_2s_ancestral,
    "dpmpp_sde": dpmpp_sde(on_device=False),
    "dpmpp_sde_gpu": dpmpp_sde(on_device=True),
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde(on_device=False),
    "dpmpp_2m_sde_gpu": dpmpp_2m_sde(on_device=True),
    "dpmpp_2m_sde_heun": dpmpp_2m_sde(on_device=False, solver_type="heun"),
    "dpmpp_2m_sde_heun_gpu": dpmpp_2m_sde(on_device=True, solver_type="heun"),
    "dpmpp_3m_sde": dpmpp_3m_sde(on_device=False),
    "dpmpp_3m_sde_gpu": dpmpp_3m_sde(on_device=True),
    "ddpm": ddpm,
    "lcm": lcm,
    "ipndm": linear_multistep(ipndm_weights, 4),
    "ipndm_v": linear_multistep(ipndm_v_weights, 4),
    "deis": linear_multistep(deis_weights, 3),
    "res_multistep": res_multistep,
    "res_multistep_ancestral": res_multistep_ancestral,
    "gradient_estimation": gradient_estimation,
    "er_sde": er_sde,
    "seeds_2": seeds((0.5,), second="phi_1"),
    "seeds_3": seeds((1 / 3, 2 / 3), second="phi_2"),
    "exp_heun_2_x0": seeds((1.0,), second="phi_2", eta=0.0),
    "exp_heun_2_x0_sde": seeds((1.0,), second="phi_2"),
    "ddim": euler,
    "uni_pc": uni_pc(lambda minus_h: minus_h),
    "uni_pc_bh2": uni_pc(torch.expm1),
}
"""For a flow model, ``ddim`` equals Euler."""


@dataclass(frozen=True, slots=True)
class ExpectedCalls:
    """The model evaluations and noise increments that a sampler will request, in order."""

    levels: tuple[float, ...]
    """Noise levels of its model evaluations."""
    intervals: tuple[Interval, ...]
    """(sigma, next sigma) of the increments of its Brownian motion."""


def expected_calls(sampler: str, sigmas: Sequence[float] | Tensor, settings: Stage, shift: float) -> ExpectedCalls:
    """Find them by running the sampler on a latent of one element without noise; they don't depend on the latent."""
    levels: list[float] = []
    intervals: list[Interval] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        levels.append(sigma)
        return torch.zeros_like(x)

    def brownian(x: Tensor, _sigmas: Tensor, _seed: int, _device: torch.device) -> IntervalNoise:
        def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            intervals.append((float(sigma), float(sigma_next)))
            return torch.zeros_like(x)

        return draw

    noise = NoiseSources(ZERO_NOISE.step, brownian)
    task = SamplerInput(denoise, torch.as_tensor(sigmas, dtype=torch.float32), settings, 0, shift, noise)
    for _ in SAMPLERS[sampler](task, torch.zeros(1, 1, 1, 1)):
        pass
    return ExpectedCalls(tuple(levels), tuple(intervals))
