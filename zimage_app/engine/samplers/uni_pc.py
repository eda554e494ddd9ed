"""UniPC (Zhao et al. 2023, arXiv 2302.04867): a multistep predictor and corrector in variance-preserving coordinates.

``y = a(u) x`` with ``a(u) = 1 / sqrt(1 + u^2)``, noise level u = sigma, ``lambda = -log u``
(HOW-IT-COMPUTES.md section 4.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.engine.samplers.common import Sampler, SamplerInput, SamplerRun, SamplerStep

_LAST_SIGMA = 0.001
"""Replaces a final sigma of 0, whose lambda is infinite."""
_MAX_ORDER = 3

_StepScale = Callable[[Tensor], Tensor]
"""B(h) of the paper, as a function of ``-h``."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A noise level and the denoised latent there."""

    sigma: Tensor
    denoised: Tensor


@dataclass(frozen=True, slots=True)
class _UniPcStep:
    """Coefficients of one step's predictor and corrector, of order p."""

    base: Tensor
    """y at the step's end for a constant denoised latent."""
    changes: list[Tensor]
    """``(D_k - D_0) / r_k`` of the p - 1 earlier noise levels."""
    scale: Tensor
    """``alpha B(h)`` at the end."""
    matrix: Tensor
    """(p, p): powers of the r_k, the last of them 1."""
    right: Tensor
    """(p,): right-hand side of the linear system for the weights."""

    def predicted(self) -> Tensor:
        """Return the predictor's y, from the known changes only; for order 2 the weight is 1/2, as in the paper."""
        order = len(self.right)
        if order == 1:
            return self.base
        half = torch.full((1,), 0.5)
        weights = half if order == 2 else torch.linalg.solve(self.matrix[:-1, :-1], self.right[:-1])
        return self.base - self.scale * self._sum(weights)

    def corrected(self, change: Tensor) -> Tensor:
        """Return the corrector's y; ``change`` is D at the step's end minus D at its start."""
        one = len(self.right) == 1
        weights = torch.full((1,), 0.5) if one else torch.linalg.solve(self.matrix, self.right)
        return self.base - self.scale * (self._sum(weights[:-1]) + weights[-1] * change)

    def _sum(self, weights: Tensor) -> Tensor:
        terms = [weight * change for weight, change in zip(weights, self.changes, strict=True)]
        return torch.stack(terms).sum(0) if terms else torch.zeros(())


def _noise_share(sigma: Tensor) -> Tensor:
    return sigma / (1 + sigma**2).sqrt()


def _signal_share(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()


def _step(y: Tensor, known: list[_Known], sigma: Tensor, order: int, step_scale: _StepScale) -> _UniPcStep:
    """Return the coefficients of the step from the last of ``known`` (oldest first) to ``sigma``."""
    now = known[-1]
    h = now.sigma.log() - sigma.log()
    ratios, changes = [], []
    for past in known[-2 : -order - 1 : -1]:
        ratio = (now.sigma.log() - past.sigma.log()) / h
        ratios.append(ratio)
        changes.append((past.denoised - now.denoised) / ratio)
    r = torch.stack([*ratios, torch.ones(())])
    phi_1 = torch.expm1(-h)
    scale = step_scale(-h)
    right = []
    phi, factorial = phi_1 / -h - 1, 1
    for power in range(1, order + 1):
        right.append(phi * factorial / scale)
        factorial *= power + 1
        phi = phi / -h - 1 / factorial
    signal = _signal_share(sigma)
    base = _noise_share(sigma) / _noise_share(now.sigma) * y - signal * phi_1 * now.denoised
    matrix = torch.stack([r**power for power in range(order)])
    return _UniPcStep(base, changes, signal * scale, matrix, torch.stack(right))


def uni_pc(step_scale: _StepScale) -> Sampler:
    """Return the sampler for one choice of B(h), as a function of ``-h``: identity is bh1, ``expm1`` is bh2.

    As in ComfyUI's callback, its steps report y instead of x: at the step's start, and for the last step at its end.
    """

    def sample(task: SamplerInput, x: Tensor) -> SamplerRun:
        levels = task.sigmas.clone()
        finishes = bool(levels[-1] == 0)
        if finishes:
            levels[-1] = _LAST_SIGMA
        steps = len(levels) - 1
        highest = max(min(_MAX_ORDER, steps - 1), 1)
        y = x * _signal_share(levels[0])
        known = [_Known(levels[0], task.denoise(x, float(levels[0])))]
        for i in range(1, steps + 1):
            sigma = levels[i]
            if i < steps:
                yield SamplerStep(i - 1, y, known[-1].denoised)
            step = _step(y, known, sigma, min(i, highest, steps + 1 - i), step_scale)
            y = step.predicted()
            if i == steps:
                break
            denoised = task.denoise(y / _signal_share(sigma), float(sigma))
            y = step.corrected(denoised - known[-1].denoised)
            known = [*known[1 - _MAX_ORDER :], _Known(sigma, denoised)]
        yield SamplerStep(steps - 1, y, known[-1].denoised)
        final = y / _signal_share(levels[-1])
        # A flow model's result is divided by 1 - (last sigma), which is below 1 here.
        return final / (1 - levels[-1]) if finishes else final

    return sample
