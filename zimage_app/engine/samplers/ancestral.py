"""Ancestral samplers: Euler, DPM-Solver-2, DPM-Solver++(2S), DDPM and RES."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zimage_app.engine.samplers.common import (
    SamplerInput,
    SamplerRun,
    ancestral_step,
    flow_ancestral_step,
    log,
    log_midpoint,
    pairs,
    sigma_at,
    slope,
)
from zimage_app.engine.samplers.multistep import exponential_2

_FIRST_MIDPOINT = 0.9999
"""Sigma of DPM-Solver++(2S)'s second evaluation in a step from sigma 1, whose half log-SNR is infinite."""


_Move = Callable[[SamplerInput, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(task, latent, sigma, lower sigma, denoised) -> the latent at the lower sigma."""


def _flow_ancestral(move: _Move) -> Callable[[SamplerInput, Tensor], SamplerRun]:
    """Return a sampler that steps to below the next sigma, then adds noise up to it (HOW-IT-COMPUTES.md 4.3)."""

    def sampler(task: SamplerInput, x: Tensor) -> SamplerRun:
        settings = task.settings
        noise = task.step_noise(x)
        for i, sigma, sigma_next in pairs(task.sigmas):
            denoised = yield from task.begin_step(i, x, sigma)
            if sigma_next == 0:
                return denoised
            step = flow_ancestral_step(sigma, sigma_next, settings.eta)
            x = move(task, x, sigma, step.down, denoised)
            if settings.eta > 0:
                x = step.keep * x + noise() * settings.s_noise * step.renoise
        return x

    return sampler


def _euler_move(task: SamplerInput, x: Tensor, sigma: Tensor, down: Tensor, denoised: Tensor) -> Tensor:
    del task
    ratio = down / sigma
    return ratio * x + (1 - ratio) * denoised


def _dpm_2_move(task: SamplerInput, x: Tensor, sigma: Tensor, down: Tensor, denoised: Tensor) -> Tensor:
    middle = log_midpoint(sigma, down)
    halfway = x + slope(x, sigma, denoised) * (middle - sigma)
    return x + slope(halfway, middle, task.denoise(halfway, float(middle))) * (down - sigma)


def _dpmpp_2s_move(task: SamplerInput, x: Tensor, sigma: Tensor, down: Tensor, denoised: Tensor) -> Tensor:
    """DPM-Solver++(2S) (arXiv 2211.01095, algorithm 1)."""
    middle = _middle(sigma, down)
    halfway = _euler_move(task, x, sigma, middle, denoised)
    return _euler_move(task, x, sigma, down, task.denoise(halfway, float(middle)))


euler_ancestral = _flow_ancestral(_euler_move)
dpm_2_ancestral = _flow_ancestral(_dpm_2_move)
dpmpp_2s_ancestral = _flow_ancestral(_dpmpp_2s_move)


def _middle(sigma: Tensor, down: Tensor) -> Tensor:
    """Return the sigma half-way between ``sigma`` and ``down`` in half log-SNR."""
    if sigma == 1:
        return torch.tensor(_FIRST_MIDPOINT)
    start, end = (log((1 - level) / level) for level in (sigma, down))
    return sigma_at(start + 0.5 * (end - start))


def ddpm(task: SamplerInput, x: Tensor) -> SamplerRun:
    """The ancestral step of Ho et al. 2020 (arXiv 2006.11239, equation 11), with sigma as ``sqrt(1/a - 1)``."""
    noise = task.step_noise(x)
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        product, product_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = product / product_next
        error = slope(x, sigma, denoised)
        y = x / (1 + sigma**2) ** 0.5
        y = (1 / alpha) ** 0.5 * (y - (1 - alpha) * error / (1 - product) ** 0.5)
        if sigma_next > 0:
            y = y + ((1 - alpha) * (1 - product_next) / (1 - product)) ** 0.5 * noise()
        x = y * (1 + sigma_next**2) ** 0.5
    return x


def res_multistep_ancestral(task: SamplerInput, x: Tensor) -> SamplerRun:
    """``res_multistep`` to below the next sigma, then fresh noise up to it, with variance-exploding formulas."""
    settings = task.settings
    noise = task.step_noise(x)
    old: Tensor | None = None
    down_old = task.sigmas[0]
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        if sigma_next == 0:
            return denoised
        down, up = ancestral_step(sigma, sigma_next, settings.eta)
        if old is None or down == 0:
            x = x + slope(x, sigma, denoised) * (down - sigma)
        else:
            h = sigma.log() - down.log()
            c2 = (down_old.log() - task.sigmas[i - 1].log()) / h
            x = (-h).exp() * x + exponential_2(h, c2, denoised, old)
        if settings.eta > 0:
            x = x + noise() * settings.s_noise * up
        old, down_old = denoised, down
    return x
