"""SEEDS (Gonzalez et al. 2023, arXiv 2305.14267): exponential SDE solvers with independent noise in every substep.

A substep of length h in half log-SNR lambda goes from sigma s to sigma t, with signal weight alpha. D is the denoised
latent at the start of the step, D' the one at ``r`` (0…1) of the whole step:

    x(t) = (t / s) e^(-eta h) x + alpha_t (1 - e^(-g)) D + alpha_t (1 - (1 - e^(-g)) / g) (h / (r H)) (D' - D) + t noise

with ``g = (1 + eta) h`` and H the whole step's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zimage_app.engine.samplers.common import (
    Sampler,
    SamplerInput,
    SamplerRun,
    half_log_snr,
    pairs,
    sigma_at,
    signal_at,
)


@dataclass(frozen=True, slots=True)
class _SeedsStep:
    """One whole step; computes the latent at any point of it."""

    x: Tensor
    sigma: Tensor
    start: Tensor
    """lambda at the start"""
    end: Tensor
    eta: float

    def level(self, r: float) -> Tensor:
        """Return the sigma at ``r`` (0…1) of the step in lambda."""
        return sigma_at(torch.lerp(self.start, self.end, r))

    def step_to(self, r: float, target: Tensor, denoised: Tensor, change: Tensor | None = None) -> Tensor:
        """Return the latent without noise at sigma ``target``, at ``r`` of the step; ``change``: D's per whole step."""
        h = r * (self.end - self.start)
        g = h * (1 + self.eta)
        grown = (-g).expm1()
        x = target / self.sigma * (-self.eta * h).exp() * self.x - signal_at(target) * grown * denoised
        return x if change is None else x + signal_at(target) * (grown / g + 1) * r * change

    def noise(self, points: Sequence[float], draws: Sequence[Tensor]) -> Tensor:
        """Return the noise accumulated up to the last of ``points``, divided by its sigma; one draw per substep."""
        h = self.end - self.start
        total = torch.zeros(())
        for begin, finish, draw in zip((0.0, *points), points, draws, strict=False):
            length = finish - begin
            total = (-self.eta * length * h).exp() * total + (-2 * self.eta * length * h).expm1().neg().sqrt() * draw
        return total


def seeds(inner: tuple[float, ...], *, second: Literal["phi_1", "phi_2"], eta: float | None = None) -> Sampler:
    """Return a solver that also evaluates the model at the ``inner`` points (0…1) of every step.

    ``second`` selects how the last evaluation is used: ``phi_1`` averages it with the first one to get the denoised
    latent, ``phi_2`` integrates the change between them exactly. ``eta`` overrides the stage's setting.
    """

    def sample(task: SamplerInput, x: Tensor) -> SamplerRun:
        settings = task.settings
        amount = settings.eta if eta is None else eta
        draw = task.step_noise(x)
        for i, sigma, sigma_next in pairs(task.finite_sigmas()):
            denoised = yield from task.begin_step(i, x, sigma)
            if sigma_next == 0:
                return denoised
            step = _SeedsStep(x, sigma, half_log_snr(sigma), half_log_snr(sigma_next), amount)
            noisy = amount > 0 and settings.s_noise > 0
            draws = [draw() for _ in range(len(inner) + 1)] if noisy else []
            change: Tensor | None = None
            for k, r in enumerate(inner):
                level = step.level(r)
                x = step.step_to(r, level, denoised, change)
                if noisy:
                    x = x + level * step.noise(inner[: k + 1], draws) * settings.s_noise
                change = (task.denoise(x, float(level)) - denoised) / r
            x = _last(step, sigma_next, denoised, change, second)
            if noisy:
                x = x + sigma_next * step.noise((*inner, 1.0), draws) * settings.s_noise
        return x

    return sample


def _last(step: _SeedsStep, sigma_next: Tensor, denoised: Tensor, change: Tensor | None, second: str) -> Tensor:
    if second == "phi_1" and change is not None:
        return step.step_to(1.0, sigma_next, denoised + 0.5 * change)
    return step.step_to(1.0, sigma_next, denoised, change)
