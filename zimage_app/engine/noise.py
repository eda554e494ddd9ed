"""Seeded noise: initial noise, per-step noise and increments of a Brownian motion. Independent of samplers.

Every source has its own generator; torch's global generator is neither read nor advanced. The numbers equal ComfyUI's
(HOW-IT-COMPUTES.md sections 2 and 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchsde
from torch import Tensor

StepNoise = Callable[[], Tensor]
"""Each call draws unit normal noise of the latent's shape, float32, on its device."""
IntervalNoise = Callable[[Tensor, Tensor], Tensor]
"""(sigma from, sigma to), 0-dim, from > to -> unit normal noise of that interval, always the same for one interval."""

_SEEDS = 2**64
_SAME_ANGLE = 1e-6
"""Radians."""
_TREE_DIGITS = 6
"""torchsde rounds times to this many digits (its tolerance is 1e-6)."""


def initial_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return unit normal noise, float32, drawn in one call on the CPU, so that all devices get the same."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


def turned(noise: Tensor, other: Tensor, strength: float) -> Tensor:
    """Interpolate from ``noise`` (strength 0) to ``other`` (strength 1) by slerp (Shoemake 1985).

    Linear interpolation would have a smaller norm than either, and give greyer pictures. Both are float32 of one shape;
    the interpolation is computed in float64 on the CPU, so that all devices get the same.
    """
    if strength in (0.0, 1.0):
        return other if strength else noise
    a, b = noise.double().cpu(), other.double().cpu()
    angle = torch.acos(((a * b).sum() / (a.norm() * b.norm())).clamp(-1.0, 1.0))
    if float(angle) < _SAME_ANGLE:  # the same noise
        return noise
    mixed = (torch.sin((1.0 - strength) * angle) * a + torch.sin(strength * angle) * b) / torch.sin(angle)
    return mixed.float().to(noise.device)


def step_noise(x: Tensor, seed: int) -> StepNoise:
    """Return a function that draws the next step's noise, shaped like x, from a generator on x's device.

    On the CPU the generator is seeded with ``seed + 1`` (modulo 2^64), so that its first draw isn't the initial noise
    again. Other devices have other generators and use ``seed`` itself.
    """
    first = (seed + 1) % _SEEDS if x.device.type == "cpu" else seed
    generator = torch.Generator(x.device).manual_seed(first)
    return lambda: torch.randn(x.shape, generator=generator, device=x.device, dtype=torch.float32)


def brownian_noise(x: Tensor, sigmas: Tensor, seed: int, device: torch.device) -> IntervalNoise:
    """Return a function that draws increments of one Brownian motion over sigma, scaled to unit variance.

    Overlapping intervals are correlated, as a two-stage SDE step requires. The sign is ComfyUI's. ``sigmas`` give the
    range; the tree is on ``device`` (numbers differ between devices), and the noise is returned on x's device.
    """
    positive = sigmas[sigmas > 0]
    low, high = float(positive.min()), float(positive.max())
    tree = torchsde.BrownianTree(
        t0=low, w0=torch.zeros(x.shape, dtype=torch.float32, device=device), t1=high, entropy=seed
    )
    # torchsde clamps times outside its rounded range with a warning; clamping them here avoids the warning.
    start, end = round(low, _TREE_DIGITS), round(high, _TREE_DIGITS)

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        below, above = (min(max(float(time), start), end) for time in (sigma_next, sigma))
        increment: Tensor = tree(below, above)
        return -increment.to(x.device) / (sigma - sigma_next).sqrt()

    return draw


@dataclass(frozen=True, slots=True)
class NoiseSources:
    """A sampler's noise sources; ``SILENT`` replaces them when only the visited sigmas are wanted."""

    step: Callable[[Tensor, int], StepNoise]
    """(x, seed) -> the step noise to draw from."""
    brownian: Callable[[Tensor, Tensor, int, torch.device], IntervalNoise]
    """(x, sigmas, seed, the tree's device) -> the interval noise to draw from."""


SEEDED = NoiseSources(step_noise, brownian_noise)
SILENT = NoiseSources(
    step=lambda x, _seed: lambda: torch.zeros_like(x),
    brownian=lambda x, _sigmas, _seed, _device: lambda _from, _to: torch.zeros_like(x),
)
"""Returns zeros; used to find out which noise levels a sampler visits."""
