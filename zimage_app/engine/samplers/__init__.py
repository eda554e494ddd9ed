"""The samplers, by ComfyUI's names: generators of one shape. They know a denoiser, not a model, and no stages.

A name is here only when its result has been compared with ComfyUI's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zimage_app.domain.request import Stage
from zimage_app.engine.noise import SILENT
from zimage_app.engine.samplers.common import Denoiser, Sampler, SamplerInput, SamplerRun, SamplerStep
from zimage_app.engine.samplers.euler import dpm_2, euler, euler_ancestral, heun, lcm
from zimage_app.engine.samplers.multistep import dpmpp_2m, res_multistep
from zimage_app.engine.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde, er_sde
from zimage_app.engine.samplers.uni_pc import uni_pc

__all__ = ["SAMPLERS", "Denoiser", "Sampler", "SamplerInput", "SamplerRun", "SamplerStep", "model_sigmas"]

SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpm_2": dpm_2,
    "lcm": lcm,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_sde": dpmpp_sde(on_device=False),
    "dpmpp_2m_sde": dpmpp_2m_sde(on_device=False),
    "dpmpp_3m_sde": dpmpp_3m_sde(on_device=False),
    "res_multistep": res_multistep,
    "er_sde": er_sde,
    "uni_pc": uni_pc(lambda minus_h: minus_h),
}


def model_sigmas(
    sampler: str, sigmas: Sequence[float] | Tensor, settings: Stage, shift: float
) -> tuple[float, ...] | None:
    """Every noise level that the sampler will ask the model for, in order.

    Found by running it on a latent of one element. None where the levels depend on the latent (adaptive steps).
    """
    asked: list[float] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return torch.zeros_like(x)

    task = SamplerInput(denoise, torch.as_tensor(sigmas, dtype=torch.float32), settings, 0, shift, SILENT)
    for _ in SAMPLERS[sampler](task, torch.zeros(1, 1, 1, 1)):
        pass
    return tuple(asked)
