"""Linear multistep samplers in sigma: they reuse the slopes ``d = (x - D) / sigma`` of earlier steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from zimage_app.engine.samplers.common import Sampler, SamplerInput, SamplerRun, pairs, slope

_Weights = Callable[[Sequence[float], int, int], Sequence[float]]
"""(sigmas, step, order) -> weights of the newest ``order`` slopes, newest first, multiplied by the step's length."""

_IPNDM = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
_GAMMA = 2.0
_DEIS_POINTS = 10_000
_VP_FIRST_TIME = 0.001
_VP_LOW, _VP_HIGH = math.log(0.002**2 + 1), math.log(80.0**2 + 1)
_VP_SLOPE = 2 * (_VP_LOW / _VP_FIRST_TIME - _VP_HIGH) / (_VP_FIRST_TIME - 1)
_VP_START = _VP_HIGH - 0.5 * _VP_SLOPE


def adams_bashforth(sigmas: Sequence[float], i: int, order: int) -> Sequence[float]:
    """Exact integrals of the Lagrange polynomials through the last sigmas, over the step from i to i + 1."""
    nodes = [sigmas[i - k] - sigmas[i] for k in range(order)]
    end = sigmas[i + 1] - sigmas[i]
    weights = []
    for k, node in enumerate(nodes):
        others = [other for j, other in enumerate(nodes) if j != k]
        basis = np.poly1d(others, r=True) / float(np.prod([node - other for other in others]))
        weights.append(float(basis.integ()(end)))
    return weights


def ipndm_weights(sigmas: Sequence[float], i: int, order: int) -> Sequence[float]:
    """Adams-Bashforth as if all steps were equally long (Zhang and Chen 2022, DEIS, arXiv 2204.13902, appendix)."""
    return [(sigmas[i + 1] - sigmas[i]) * weight for weight in _IPNDM[order - 1]]


def ipndm_v_weights(sigmas: Sequence[float], i: int, order: int) -> Sequence[float]:
    """iPNDM for unequal steps, built from backward differences of the slopes.

    The weights are ComfyUI's for this name; from the third order on they differ from the exact integrals of
    ``adams_bashforth``.
    """
    h0 = sigmas[i + 1] - sigmas[i]
    h1, h2, h3 = (sigmas[i - k] - sigmas[i - k - 1] if i > k else math.inf for k in range(3))
    to_second, to_third = h1 / h2, h1 * (h1 + h2) / (h2 * (h2 + h3))
    one = np.array([1.0, 0.0, 0.0, 0.0])
    first = np.array([1.0, -1.0, 0.0, 0.0])
    second = first - to_second * np.array([0.0, 1.0, -1.0, 0.0])
    third = second - to_third * np.array([0.0, 1.0, -1.0 - h2 / h3, to_second])
    far = (1 - h0 / (3 * (h0 + h1))) / 2 + (1 - h0 / (2 * (h0 + h1))) * h0 / (6 * (h0 + h1 + h2))
    terms = (
        one,
        h0 / (2 * h1) * first,
        (1 - h0**2 / (3 * h1 * (h1 + h2))) / 2 * second,
        far * h0 * (h0 + h1) * (h0 + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3)) * third,
    )
    return [float(h0 * weight) for weight in np.sum(terms[:order], axis=0)[:order]]


def deis_weights(sigmas: Sequence[float], i: int, order: int) -> Sequence[float]:
    """Integrals over sigma of Lagrange polynomials in the time of a VP process (DEIS, arXiv 2204.13902, tAB).

    The process is Song et al.'s (arXiv 2011.13456) with sigma from 0.002 to 80; each integral is approximated by the
    mean over 10000 points, as in the authors' tables.
    """
    if order == 1:
        return [sigmas[i + 1] - sigmas[i]]
    nodes = [_vp_time(sigmas[i - k]) for k in range(order)]
    time = np.linspace(nodes[0], _vp_time(sigmas[i + 1]), _DEIS_POINTS)
    growth = np.exp(0.5 * _VP_SLOPE * time**2 + _VP_START * time)
    speed = (_VP_SLOPE * time + _VP_START) * growth / (2 * np.sqrt(growth - 1))
    weights = []
    for k, node in enumerate(nodes):
        others = [other for j, other in enumerate(nodes) if j != k]
        basis = np.prod([(time - other) / (node - other) for other in others], axis=0)
        weights.append(float((basis * speed).mean() * (time[-1] - time[0])))
    return weights


def _vp_time(sigma: float) -> float:
    """Return the time t at which ``sigma^2 = exp(slope t^2 / 2 + start t) - 1``."""
    exponent = math.log(sigma**2 + 1)
    return (math.sqrt(_VP_START**2 + 2 * _VP_SLOPE * exponent) - _VP_START) / _VP_SLOPE


def linear_multistep(weights: _Weights, order: int) -> Sampler:
    """Return a sampler that uses up to ``order`` slopes; a step to sigma 0 returns the denoised latent."""

    def sample(task: SamplerInput, x: Tensor) -> SamplerRun:
        levels = [float(sigma) for sigma in task.sigmas]
        slopes: list[Tensor] = []
        for i, sigma, sigma_next in pairs(task.sigmas):
            denoised = yield from task.begin_step(i, x, sigma)
            if sigma_next == 0:
                return denoised
            slopes = [slope(x, sigma, denoised), *slopes[: order - 1]]
            for weight, d in zip(weights(levels, i, len(slopes)), slopes, strict=True):
                x = x + weight * d
        return x

    return sample


def gradient_estimation(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Euler with the slope extrapolated from the previous one (Permenter and Yuan 2023, arXiv 2306.04848, gamma 2)."""
    old: Tensor | None = None
    for i, sigma, sigma_next in pairs(task.sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        if sigma_next == 0:
            return denoised
        d = slope(x, sigma, denoised)
        averaged = d if old is None else _GAMMA * d + (1 - _GAMMA) * old
        x = x + averaged * (sigma_next - sigma)
        old = d
    return x


def heunpp2(task: SamplerInput, x: Tensor) -> SamplerRun:
    """Heun with a third slope taken one step ahead; slopes are weighted by sigma."""
    sigmas = task.sigmas
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = yield from task.begin_step(i, x, sigma)
        d = slope(x, sigma, denoised)
        dt = sigma_next - sigma
        if sigma_next == 0:
            return x + d * dt
        ahead = x + d * dt
        d_ahead = slope(ahead, sigma_next, task.denoise(ahead, float(sigma_next)))
        beyond = sigmas[i + 2] if i + 2 < len(sigmas) else sigmas.new_zeros(())
        if beyond == 0:
            share = sigma_next / (2 * sigmas[0])
            x = x + (d * (1 - share) + d_ahead * share) * dt
            continue
        further = ahead + d_ahead * (beyond - sigma_next)
        d_further = slope(further, beyond, task.denoise(further, float(beyond)))
        share, share_further = sigma_next / (3 * sigmas[0]), beyond / (3 * sigmas[0])
        x = x + (d * (1 - share - share_further) + d_ahead * share + d_further * share_further) * dt
    return x
