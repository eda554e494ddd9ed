"""Seeded noise: initial noise, per-step noise and increments of a Brownian motion. Independent of samplers.

Every source has its own generator; torch's global generator is neither read nor advanced. The numbers equal ComfyUI's
(HOW-IT-COMPUTES.md sections 2 and 4.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
import torchsde
from torch import Tensor

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.text import Text

StepNoise = Callable[[], Tensor]
"""Each call returns new unit normal noise with the latent's shape and device, float32."""
IntervalNoise = Callable[[Tensor, Tensor], Tensor]
"""(sigma from, sigma to), 0-dim, from > to -> unit normal noise of that interval, always the same for one interval."""

Interval = tuple[float, float]
"""Interval of a Brownian motion: (lower time, higher time)."""

_PREFETCHED = 2
"""Number of increments that are drawn ahead."""
_SEEDS = 2**64
_SAME_ANGLE = 1e-6
"""Radians."""
_TREE_DIGITS = 6
"""torchsde rounds times to this many digits (its tolerance is 1e-6)."""


def initial_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return unit normal noise, float32, drawn in one call on the CPU, so that all devices get the same."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


def interpolated_noise(noise: Tensor, other: Tensor, strength: float) -> Tensor:
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


def brownian_noise(
    x: Tensor, sigmas: Tensor, seed: int, device: torch.device, expected: Sequence[Interval] = ()
) -> IntervalNoise:
    """Increments of one Brownian motion over sigma, scaled to unit variance, with the sign that ComfyUI gives them.

    Overlapping intervals are correlated, as they must be for a two-stage SDE step. ``sigmas`` give the range;
    the tree lives on ``device`` (numbers differ from device to device) and the noise arrives on x's. On the CPU, those
    of the ``expected`` intervals (sigma, next sigma) are drawn in a thread, which changes no number: an increment
    follows from its interval alone.
    """
    positive = sigmas[sigmas > 0]
    low, high = float(positive.min()), float(positive.max())
    tree = torchsde.BrownianTree(
        t0=low, w0=torch.zeros(x.shape, dtype=torch.float32, device=device), t1=high, entropy=seed
    )
    # torchsde clamps times outside its rounded range with a warning; clamping them here avoids the warning.
    start, end = round(low, _TREE_DIGITS), round(high, _TREE_DIGITS)

    def within(sigma: float, sigma_next: float) -> Interval:
        below, above = (min(max(time, start), end) for time in (sigma_next, sigma))
        return below, above

    increment: Callable[[float, float], Tensor] = tree
    if expected and device.type == "cpu":
        increment = _PrefetchedNoise(tree, [within(*interval) for interval in expected])

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        try:
            drawn = increment(*within(float(sigma), float(sigma_next)))
        except RecursionError:  # torchsde halves its interval until it meets the noise level
            raise GenerationError(
                Text(
                    "The noise levels lie too close together to draw noise between them; use fewer steps, a higher"
                    " denoise or another sampler.",
                    "噪声水平之间的间隔太小，无法抽取噪声；请减少步数、提高重绘幅度或更换采样器。",
                )
            ) from None
        return -drawn.to(x.device) / (sigma - sigma_next).sqrt()

    return draw


class _PrefetchedNoise:
    """Draws the next expected increments ahead, in a background thread."""

    def __init__(self, draw: Callable[[float, float], Tensor], expected: Sequence[Interval]) -> None:
        self._draw = draw
        self._left = deque(expected)
        self._drawn: deque[tuple[Interval, Future[Tensor]]] = deque()
        self._thread = ThreadPoolExecutor(1, "noise")
        for _ in range(_PREFETCHED):
            self._next()

    def __call__(self, below: float, above: float) -> Tensor:
        if self._drawn and self._drawn[0][0] == (below, above):
            drawn = self._drawn.popleft()[1]
            self._next()
        else:
            drawn = self._thread.submit(self._draw, below, above)
        return drawn.result()

    def _next(self) -> None:
        if self._left:
            interval = self._left.popleft()
            self._drawn.append((interval, self._thread.submit(self._draw, *interval)))


@dataclass(frozen=True, slots=True)
class NoiseSources:
    """A sampler's noise sources; ``ZERO_NOISE`` replaces them when only the visited sigmas are wanted."""

    step: Callable[[Tensor, int], StepNoise]
    """(x, seed) -> the step noise to draw from."""
    brownian: Callable[[Tensor, Tensor, int, torch.device], IntervalNoise]
    """(x, sigmas, seed, the tree's device) -> the interval noise to draw from."""


SEEDED = NoiseSources(step_noise, brownian_noise)


def prefetched_noise(intervals: Sequence[Interval]) -> NoiseSources:
    """``SEEDED``, for a run that asks for these increments of its Brownian motion, as (sigma, next sigma) in order."""
    return NoiseSources(step_noise, partial(brownian_noise, expected=intervals))


ZERO_NOISE = NoiseSources(
    step=lambda x, _seed: lambda: torch.zeros_like(x),
    brownian=lambda x, _sigmas, _seed, _device: lambda _from, _to: torch.zeros_like(x),
)
"""Returns zeros; used to find out which noise levels a sampler visits."""
