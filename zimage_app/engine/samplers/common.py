"""Shared by all samplers: their signature, the flow model's half log-SNR, ancestral steps.

Scalars are 0-dim float32 CPU tensors as in ComfyUI: a Brownian tree rounds its times, so a sigma that differs in the
last bit can give other noise. 0-dim CPU tensors combine with a latent on any device without a device-to-host copy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.domain.schedules import percent_to_sigma
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.noise import SEEDED, IntervalNoise, NoiseSources, StepNoise

Denoiser = Callable[[Tensor, float], Tensor]
"""(x float32 (B, 16, h, w) in model space, sigma) -> denoised, same shape, float32."""

_FIRST_PERCENT = 1e-4
"""Share of the sampling by which a start at sigma 1 is moved, where lambda is infinite (HOW-IT-COMPUTES.md 4.2)."""


@dataclass(frozen=True, slots=True)
class SamplerStep:
    """One step, reported once its first model evaluation is done."""

    index: int
    """Index of the step, from 0."""
    x: Tensor
    """The latent before the step, as ComfyUI's callback gets it (for uni_pc see ``uni_pc.uni_pc``)."""
    denoised: Tensor


@dataclass(frozen=True, slots=True)
class SamplerInput:
    """All arguments of a sampler except the latent."""

    denoise: Denoiser
    sigmas: Tensor
    """(steps + 1,) float32 on the CPU, decreasing; the last is 0 unless another stage continues from there. Samplers
    must not modify it."""
    settings: Stage
    """eta, s_noise, r and solver_type are read from here."""
    seed: int
    shift: float
    noise: NoiseSources = SEEDED

    def begin_step(self, index: int, x: Tensor, sigma: Tensor) -> SamplerRun:
        """Evaluate the model at a step's start and report the step; returns the denoised latent."""
        denoised = self.denoise(x, float(sigma))
        yield SamplerStep(index, x, denoised)
        return denoised

    def step_noise(self, x: Tensor) -> StepNoise:
        """Return the source of independent per-step noise."""
        return self.noise.step(x, self.seed)

    def brownian_noise(self, x: Tensor, *, on_device: bool) -> IntervalNoise:
        """Return increments of one Brownian motion over ``sigmas``, drawn on x's device or on the CPU."""
        device = x.device if on_device else torch.device("cpu")
        draw: IntervalNoise | None = None

        def lazy(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            # Built on the first draw, because a schedule of one step spans no interval and never draws.
            nonlocal draw
            if draw is None:
                draw = self.noise.brownian(x, self.sigmas, self.seed, device)
            return draw(sigma, sigma_next)

        return lazy

    def finite_sigmas(self) -> Tensor:
        """Return the schedule with a first sigma of 1 moved just below 1, because lambda is infinite at 1."""
        if float(self.sigmas[0]) < 1.0:
            return self.sigmas
        sigmas = self.sigmas.clone()
        sigmas[0] = percent_to_sigma(self.shift, _FIRST_PERCENT)
        return sigmas


SamplerRun = Generator[SamplerStep, None, Tensor]
Sampler = Callable[[SamplerInput, Tensor], SamplerRun]
"""(input, x already noised) -> steps; the generator's return value is the final latent."""


def pairs(sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (index, sigma, next sigma) of every step."""
    return ((i, sigmas[i], sigmas[i + 1]) for i in range(len(sigmas) - 1))


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """Return dx/dsigma of the probability flow: ``(x - D) / sigma``."""
    return (x - denoised) / sigma


def log(value: Tensor) -> Tensor:
    """Natural logarithm, computed in float64: torch's float32 logarithm differs between processors."""
    return value.double().log().float()


def exp(value: Tensor) -> Tensor:
    """Exponential, computed in float64: torch's float32 exponential differs between processors."""
    return value.double().exp().float()


def half_log_snr(sigma: Tensor) -> Tensor:
    """Return ``lambda = log((1 - sigma) / sigma)``."""
    return -log(sigma / (1 - sigma))


def sigma_at(half_log_snr: Tensor) -> Tensor:
    """Return the sigma of a half log-SNR: ``1 / (1 + exp(lambda))``."""
    return 1 / (1 + exp(half_log_snr))


def signal_at(sigma: Tensor) -> Tensor:
    """Return alpha as ``sigma exp(lambda)``, which near sigma 1 differs from ``1 - sigma`` in the last bits."""
    return sigma * half_log_snr(sigma).exp()


def log_midpoint(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return the geometric mean of both sigmas, computed from their logarithms."""
    return exp(log(sigma).lerp(log(sigma_next), 0.5))


@dataclass(frozen=True, slots=True)
class FlowAncestralStep:
    """An ancestral step of a flow model: to sigma ``down``, then up to the next sigma with fresh noise.

    ``x' = keep x(down) + renoise n`` has the signal and noise weights of the next sigma (signal weight ``1 - sigma``):
    ``keep = (1 - next) / (1 - down)``, ``renoise^2 = next^2 - keep^2 down^2``.
    """

    down: Tensor
    keep: Tensor
    renoise: Tensor


def flow_ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float) -> FlowAncestralStep:
    """Return the ancestral step's coefficients, with ``down = next (1 + (next / sigma - 1) eta)``."""
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    signal, signal_down = 1 - sigma_next, 1 - down
    renoise = (sigma_next**2 - down**2 * signal**2 / signal_down**2) ** 0.5
    return FlowAncestralStep(down, signal / signal_down, renoise)


def ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Return (down, up) of a variance-exploding process: ``down^2 + up^2 = next^2`` (Karras et al. 2022, algorithm 2).

    ``up`` is the standard deviation of the fresh noise.
    """
    if eta == 0.0:
        return sigma_next, torch.zeros_like(sigma_next)
    spread = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = torch.minimum(sigma_next, eta * spread)
    return (sigma_next**2 - up**2) ** 0.5, up
