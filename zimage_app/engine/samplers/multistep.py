"""Deterministic multistep samplers in the time ``-log sigma`` that reuse the previous step's denoised latent."""

from __future__ import annotations

from torch import Tensor

from zimage_app.engine.samplers.common import SamplerInput, SamplerRun, pairs, slope


def dpmpp_2m(task: SamplerInput, x: Tensor) -> SamplerRun:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2) with variance-exploding formulas.

    As in ComfyUI, these are used for flow models too: the signal's weight is taken as 1.
    """
    times = -task.sigmas.log()
    old: Tensor | None = None
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        h = times[i + 1] - times[i]
        blend = denoised
        if old is not None and sigma_next > 0:
            r = (times[i] - times[i - 1]) / h
            blend = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * old
        x = (sigma_next / sigma) * x - (-h).expm1() * blend
        old = denoised
    return x


def res_multistep(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Second-order refined exponential solver (Zhang et al. 2023, arXiv 2308.02157); first and last step are Euler."""
    times = -task.sigmas.log()
    old: Tensor | None = None
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        if old is None or sigma_next == 0:
            x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
        else:
            h = times[i + 1] - times[i]
            x = (-h).exp() * x + exponential_2(h, (times[i - 1] - times[i]) / h, denoised, old)
        old = denoised
    return x


def exponential_2(h: Tensor, c2: Tensor, denoised: Tensor, old: Tensor) -> Tensor:
    """Return the D terms of a second-order exponential step of length h; ``old`` is D at ``c2 h`` from its start."""
    phi_1 = (-h).expm1() / -h
    phi_2 = (phi_1 - 1) / -h
    return h * ((phi_1 - phi_2 / c2) * denoised + phi_2 / c2 * old)
