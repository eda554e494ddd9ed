"""One denoising trajectory over rising resolutions: when it moves to the next size, and at which noise level.

Follows SGLang's progressive resolution (pull request 27524), but for any growth ratio. Pure arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SPECTRUM = 203.615097
_SPECTRUM_FALL = 1.915461
"""A picture's power spectrum, ``P = 203.615097 w^-1.915461`` at frequency w; SGLang fitted it to the VAE's latents."""
_SEED_STRIDE = 10_000
_SEEDS = 2**64

Size = tuple[int, int]
"""(height, width) of a latent."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """The point at which a stage takes over the previous stage's trajectory, at its own size."""

    sigma: float
    """Noise level of the latent that is handed over; the stage's first sigma is higher."""
    seed: int
    """Seed of the noise that fills the frequencies missing from the smaller latent."""


def switch_sigma(size: Size, delta: float) -> float:
    """The noise level below which a latent of ``size`` lacks detail that is visible above the noise.

    ``1 / (1 + sqrt(delta / (P (1 + P - delta))))``, with P at half the shorter side.
    """
    power = _SPECTRUM * (min(size) // 2) ** -_SPECTRUM_FALL
    return 1.0 / (1.0 + math.sqrt(delta / (power * (1.0 + power - delta))))


def switch_step(sigmas: Sequence[float], threshold: float) -> int:
    """The first step, from 0, that begins at or below ``threshold``; the last one where none does."""
    steps = range(len(sigmas) - 1)
    return next((step for step in steps if sigmas[step] <= threshold), len(sigmas) - 2)


def growth(before: Size, after: Size) -> float:
    """The growth factor of the sides: the square root of the ratio of the areas."""
    return math.sqrt(after[0] * after[1] / (before[0] * before[1]))


def raised(sigma: float, ratio: float) -> float:
    """The noise level after sides grew by ``ratio``: ``r s / (1 + (r-1) s)``.

    A picture's frequency coefficients grow with its sides, white noise's don't, so the noise level rises.
    """
    return ratio * sigma / (1.0 + (ratio - 1.0) * sigma)


def fill_seed(seed: int) -> int:
    """The seed of a hand-over's noise; ``seed`` is that of the initial noise or of the previous hand-over."""
    return (seed + _SEED_STRIDE) % _SEEDS
