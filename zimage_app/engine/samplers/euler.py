"""Single-step samplers in sigma: Euler, Heun, midpoint (DPM-Solver-2) and LCM."""

from __future__ import annotations

from torch import Tensor

from zimage_app.engine.samplers.common import SamplerInput, SamplerRun, log_midpoint, pairs, slope


def euler(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Euler: Karras et al. 2022 (arXiv 2206.00364), algorithm 1 without the second-order correction."""
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
    return x


def heun(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Heun: Karras et al. 2022, algorithm 1, the trapezoid rule with Euler for the step to sigma 0."""
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        d = slope(x, sigma, denoised)
        dt = sigma_next - sigma
        if sigma_next == 0:
            return x + d * dt
        ahead = x + d * dt
        d_ahead = slope(ahead, sigma_next, task.denoise(ahead, float(sigma_next)))
        x = x + (d + d_ahead) / 2 * dt
    return x


def dpm_2(task: SamplerInput, x: Tensor) -> SamplerRun:
    """The midpoint rule with the midpoint in log sigma (Lu et al. 2022, DPM-Solver-2, arXiv 2206.00927)."""
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        d = slope(x, sigma, denoised)
        if sigma_next == 0:
            return x + d * (sigma_next - sigma)
        middle = log_midpoint(sigma, sigma_next)
        halfway = x + d * (middle - sigma)
        d_middle = slope(halfway, middle, task.denoise(halfway, float(middle)))
        x = x + d_middle * (sigma_next - sigma)
    return x


def lcm(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Denoise, then noise again to the next sigma (Luo et al. 2023, arXiv 2310.04378, algorithm 3)."""
    noise = task.step_noise(x)
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        x = denoised if sigma_next == 0 else sigma_next * noise() + (1 - sigma_next) * denoised
    return x
