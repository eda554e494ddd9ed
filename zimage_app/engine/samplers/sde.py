"""Samplers of the reverse SDE: the DPM-Solver++ family with Brownian noise, and ER-SDE.

All use the flow model's half log-SNR ``lambda`` and signal weight ``alpha = 1 - sigma``. Formulas: HOW-IT-COMPUTES.md
sections 4.3 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from zimage_app.engine.samplers.common import (
    Sampler,
    SamplerInput,
    SamplerRun,
    ancestral_step,
    half_log_snr,
    pairs,
    sigma_at,
    signal_at,
)

_ER_SDE_POINTS = 200


def dpmpp_sde(*, on_device: bool) -> Sampler:
    """DPM-Solver++ SDE with two evaluations per step: at its start, and at ``r`` (0…1) of the step in lambda."""

    def sample(task: SamplerInput, x: Tensor) -> SamplerRun:
        settings = task.settings
        noise = task.brownian_noise(x, on_device=on_device)
        share = 1 / (2 * settings.r)

        def towards(target: Tensor, sigma: Tensor, x: Tensor, denoised: Tensor) -> Tensor:
            # An ancestral step in sigma / alpha, in which the process is variance-exploding.
            ratio, ratio_target = (half_log_snr(level).neg().exp() for level in (sigma, target))
            down, up = ancestral_step(ratio, ratio_target, settings.eta)
            signal, keep = signal_at(target), down / ratio
            x = (signal / signal_at(sigma)) * keep * x + signal * (1 - keep) * denoised
            if settings.eta > 0 and settings.s_noise > 0:
                x = x + signal * noise(sigma, target) * settings.s_noise * up
            return x

        for i, sigma, sigma_next in pairs(task.finite_sigmas()):
            denoised = yield from task.begin_step(i, x, sigma)
            if sigma_next == 0:
                return denoised
            start, end = half_log_snr(sigma), half_log_snr(sigma_next)
            middle = sigma_at(start + settings.r * (end - start))
            denoised_middle = task.denoise(towards(middle, sigma, x, denoised), float(middle))
            x = towards(sigma_next, sigma, x, (1 - share) * denoised + share * denoised_middle)
        return x

    return sample


@dataclass(frozen=True, slots=True)
class _Interval:
    """One step of an exponential integrator in lambda."""

    ratio: Tensor
    """next sigma / sigma"""
    signal: Tensor
    """alpha at the end"""
    h: Tensor
    """length in lambda"""
    eta: float

    @property
    def h_eta(self) -> Tensor:
        return self.h * (1 + self.eta)

    def drift(self, x: Tensor, denoised: Tensor) -> Tensor:
        """Return the step's exact solution for a constant denoised latent, without noise."""
        return self.ratio * (-self.h * self.eta).exp() * x + self.signal * (-self.h_eta).expm1().neg() * denoised

    @property
    def renoise(self) -> Tensor:
        """Standard deviation of the fresh noise, divided by the next sigma."""
        return (-2 * self.h * self.eta).expm1().neg().sqrt()


_Past = list[tuple[Tensor, Tensor]]
"""(h, denoised) of up to two earlier steps, newest first."""
_Correction = Callable[[_Interval, Tensor, _Past], Tensor]
"""(step, denoised, past) -> correction that is added to the latent."""


def _interval(sigma: Tensor, sigma_next: Tensor, eta: float) -> _Interval:
    h = half_log_snr(sigma_next) - half_log_snr(sigma)
    return _Interval(sigma_next / sigma, signal_at(sigma_next), h, eta)


def dpmpp_2m_sde(*, on_device: bool, solver_type: str | None = None) -> Sampler:
    """DPM-Solver++(2M) SDE; ``solver_type`` (midpoint or heun) overrides the stage's setting."""

    def sample(task: SamplerInput, x: Tensor) -> SamplerRun:
        correction = partial(_second_order, solver=solver_type or task.settings.solver_type)
        return _multistep_sde(task, x, on_device, correction)

    return sample


def dpmpp_3m_sde(*, on_device: bool) -> Sampler:
    """DPM-Solver++(3M) SDE (HOW-IT-COMPUTES.md section 4.4)."""
    return lambda task, x: _multistep_sde(task, x, on_device, _third_order)


def _multistep_sde(task: SamplerInput, x: Tensor, on_device: bool, correction: _Correction) -> SamplerRun:
    settings = task.settings
    noise = task.brownian_noise(x, on_device=on_device)
    past: _Past = []
    for i, sigma, sigma_next in pairs(task.finite_sigmas()):
        denoised = yield from task.begin_step(i, x, sigma)
        if sigma_next == 0:
            return denoised
        step = _interval(sigma, sigma_next, settings.eta)
        x = step.drift(x, denoised)
        if past:
            x = x + correction(step, denoised, past)
        if settings.eta > 0 and settings.s_noise > 0:
            x = x + noise(sigma, sigma_next) * sigma_next * step.renoise * settings.s_noise
        past = [(step.h, denoised), *past[:1]]
    return x


def _second_order(step: _Interval, denoised: Tensor, past: _Past, *, solver: str) -> Tensor:
    """Return the correction from the step before, by heun's exact phi function or midpoint's approximation of it."""
    h_old, old = past[0]
    heun = solver == "heun"
    weight = (-step.h_eta).expm1() / step.h_eta + 1 if heun else 0.5 * (-step.h_eta).expm1().neg()
    return step.signal * weight * (step.h / h_old) * (denoised - old)


def _third_order(step: _Interval, denoised: Tensor, past: _Past) -> Tensor:
    """Return the correction from one or two earlier steps."""
    phi_2 = (-step.h_eta).expm1() / step.h_eta + 1
    h_1, denoised_1 = past[0]
    r0 = h_1 / step.h
    change = (denoised - denoised_1) / r0
    if len(past) == 1:
        return step.signal * (phi_2 * change)
    h_2, denoised_2 = past[1]
    r1 = h_2 / step.h
    bend = (change - (denoised_1 - denoised_2) / r1) / (r0 + r1)
    return step.signal * (phi_2 * (change + bend * r0) - (phi_2 / step.h_eta - 0.5) * bend)


def er_sde(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Extended reverse-time SDE solver, order 3 (Cui et al. 2023, arXiv 2309.06169; HOW-IT-COMPUTES.md section 4.4)."""
    noise = task.step_noise(x)
    sigmas = task.finite_sigmas()
    levels = half_log_snr(sigmas).neg().exp()
    old: Tensor | None = None
    change_old: Tensor | None = None
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        if sigma_next == 0:
            return denoised
        level, level_next = levels[i], levels[i + 1]
        signal = signal_at(sigma_next)
        ratio = _er_weight(level_next) / _er_weight(level)
        x = (signal / signal_at(sigma)) * ratio * x + signal * (1 - ratio) * denoised
        if old is not None:
            first, second = _er_integrals(level, level_next)
            change = (denoised - old) / (level - levels[i - 1])
            x = x + signal * first * change
            if change_old is not None:
                x = x + signal * second * (change - change_old) / ((level - levels[i - 2]) / 2)
            change_old = change
        if task.settings.s_noise > 0:
            spread = (level_next**2 - level**2 * ratio**2).sqrt().nan_to_num(nan=0.0)
            x = x + signal * noise() * task.settings.s_noise * spread
        old = denoised
    return x


def _er_weight(level: Tensor) -> Tensor:
    """Return the noise scaling ``phi(v) = v (exp(v^0.3) + 10)`` of the ER-SDE-Solvers paper."""
    return level * ((level**0.3).exp() + 10.0)


def _er_integrals(level: Tensor, level_next: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of D's first and second derivative, computed as left Riemann sums over 200 points."""
    dt = level_next - level
    width = -dt / _ER_SDE_POINTS
    points = level_next + torch.arange(_ER_SDE_POINTS, dtype=torch.float32) * width
    weights = _er_weight(points)
    scale = _er_weight(level_next)
    first = dt + (1 / weights).sum() * width * scale
    second = dt**2 / 2 + ((points - level) / weights).sum() * width * scale
    return first, second
