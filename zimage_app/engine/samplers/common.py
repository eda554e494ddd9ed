"""What all samplers share: their one shape, the flow model's half log-SNR, the ancestral step. Knows no sampler.

Scalars are 0-dim float32 CPU tensors, because ComfyUI has them so: a Brownian tree rounds its times, and a level that
differs in the last bit can fall on another leaf. They mix with a latent on any device without a transfer back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.domain.request import Stage
from zimage_app.domain.schedules import percent_to_sigma
from zimage_app.engine.noise import SEEDED, IntervalNoise, NoiseSources, StepNoise

Denoiser = Callable[[Tensor, float], Tensor]
"""(x float32 (B, 16, h, w) in model space, sigma) -> denoised, same shape, float32."""

_FIRST_PERCENT = 1e-4
"""How far into the sampling a start at sigma 1 is moved for the half log-SNR (HOW-IT-COMPUTES.md section 4.2)."""


@dataclass(frozen=True, slots=True)
class SamplerStep:
    """One step, seen when its first evaluation is there."""

    index: int
    """From 0."""
    x: Tensor
    """The latent before the step, as ComfyUI's callback has it (uni_pc: see there)."""
    sigma: float
    denoised: Tensor


@dataclass(frozen=True, slots=True)
class SamplerInput:
    """Everything a sampler needs but the latent."""

    denoise: Denoiser
    sigmas: Tensor
    """(steps + 1,) float32 on the CPU, falling; the last is 0 unless another run goes on from there. Never written
    to."""
    settings: Stage
    """eta, s_noise, r and solver_type are read from here."""
    seed: int
    shift: float
    noise: NoiseSources = SEEDED

    def step_noise(self, x: Tensor) -> StepNoise:
        """Noise of its own for every step."""
        return self.noise.step(x, self.seed)

    def brownian_noise(self, x: Tensor, *, on_device: bool) -> IntervalNoise:
        """One Brownian motion over the schedule as it was asked for; on x's device, or on the CPU."""
        device = x.device if on_device else torch.device("cpu")
        draw: IntervalNoise | None = None

        def lazy(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            # A schedule of one step spans no interval, and draws none.
            nonlocal draw
            if draw is None:
                draw = self.noise.brownian(x, self.sigmas, self.seed, device)
            return draw(sigma, sigma_next)

        return lazy

    def finite_sigmas(self) -> Tensor:
        """The schedule with a first sigma of 1, whose half log-SNR is infinite, moved just below 1."""
        if float(self.sigmas[0]) < 1.0:
            return self.sigmas
        sigmas = self.sigmas.clone()
        sigmas[0] = percent_to_sigma(self.shift, _FIRST_PERCENT)
        return sigmas


SamplerRun = Generator[SamplerStep, None, Tensor]
Sampler = Callable[[SamplerInput, Tensor], SamplerRun]
"""(input, x already noised) -> steps; the generator's return value is the final latent."""


def pairs(sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(index, sigma, next sigma) of every step."""
    return ((i, sigmas[i], sigmas[i + 1]) for i in range(len(sigmas) - 1))


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability flow: ``(x - D) / sigma``."""
    return (x - denoised) / sigma


def log(value: Tensor) -> Tensor:
    """The logarithm, rounded once from float64: torch's float32 one differs from one processor to the next."""
    return value.double().log().float()


def exp(value: Tensor) -> Tensor:
    """The exponential, rounded once from float64, for the same reason."""
    return value.double().exp().float()


def half_log_snr(sigma: Tensor) -> Tensor:
    """``lambda = log((1 - sigma) / sigma)``."""
    return -log(sigma / (1 - sigma))


def sigma_at(half_log_snr: Tensor) -> Tensor:
    """The inverse: ``1 / (1 + exp(lambda))``."""
    return 1 / (1 + exp(half_log_snr))


def signal_at(sigma: Tensor) -> Tensor:
    """alpha, as ``sigma exp(lambda)``: near sigma 1 the last bits of ``1 - sigma`` are not those of lambda."""
    return sigma * half_log_snr(sigma).exp()


def log_midpoint(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """The geometric mean, by way of the logarithms."""
    return exp(log(sigma).lerp(log(sigma_next), 0.5))


@dataclass(frozen=True, slots=True)
class FlowAncestralStep:
    """An ancestral step of a flow model: down to ``down``, then up to the next sigma with fresh noise.

    ``x' = keep x(down) + renoise n`` leaves signal and noise as they are at the next sigma, since the signal's weight
    is ``1 - sigma``: ``keep = (1 - next) / (1 - down)``, ``renoise^2 = next^2 - keep^2 down^2``.
    """

    down: Tensor
    keep: Tensor
    renoise: Tensor


def flow_ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float) -> FlowAncestralStep:
    """How far down, and how much noise then: ``down = next (1 + (next / sigma - 1) eta)``."""
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    signal, signal_down = 1 - sigma_next, 1 - down
    renoise = (sigma_next**2 - down**2 * signal**2 / signal_down**2) ** 0.5
    return FlowAncestralStep(down, signal / signal_down, renoise)


def ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """(down, up) of a variance-exploding process: ``down^2 + up^2 = next^2`` (Karras et al. 2022, algorithm 2)."""
    if eta == 0.0:
        return sigma_next, torch.zeros_like(sigma_next)
    spread = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = torch.minimum(sigma_next, eta * spread)
    return (sigma_next**2 - up**2) ** 0.5, up
