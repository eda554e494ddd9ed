"""Linear layers of the networks, whose weight is a plain matrix or a packed weight that multiplies itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from zimage_app.models.weights.packed_weights import PackedLinear

Weight = Tensor | Callable[[Tensor], Tensor]
"""A matrix (out, in), or a function that multiplies by one."""


def weight_of(layer: nn.Module) -> Weight:
    """Return the weight of an ``nn.Linear`` without a bias, or a packed linear itself."""
    if isinstance(layer, PackedLinear):
        return layer
    assert isinstance(layer, nn.Linear)
    return layer.weight


def linear(x: Tensor, weight: Weight) -> Tensor:
    """Multiply: (..., in) -> (..., out)."""
    return F.linear(x, weight) if isinstance(weight, Tensor) else weight(x)


def linears(x: Tensor, weights: tuple[Weight, ...], count: int) -> Sequence[Tensor]:
    """Apply ``count`` linears to the same input; ``weights`` has one per linear, or a single one of all stacked."""
    if len(weights) == 1:
        return linear(x, weights[0]).chunk(count, -1)
    return [linear(x, weight) for weight in weights]
