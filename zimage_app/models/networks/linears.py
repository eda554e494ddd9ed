"""A linear as the networks' forwards use it: a plain matrix, or a packed weight that multiplies by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from zimage_app.models.weights.packed_weights import PackedLinear

Weight = Tensor | Callable[[Tensor], Tensor]
"""A matrix (out, in), or something that multiplies by one."""


def weight_of(layer: nn.Module) -> Weight:
    """The weight of an ``nn.Linear`` without a bias, or a packed linear itself."""
    if isinstance(layer, PackedLinear):
        return layer
    assert isinstance(layer, nn.Linear)
    return layer.weight


def linear(x: Tensor, weight: Weight) -> Tensor:
    """(..., in) -> (..., out)."""
    return F.linear(x, weight) if isinstance(weight, Tensor) else weight(x)


def linears(x: Tensor, weights: tuple[Weight, ...], count: int) -> Sequence[Tensor]:
    """What ``count`` linears of one input give, whether their weights are in one or in several."""
    if len(weights) == 1:
        return linear(x, weights[0]).chunk(count, -1)
    return [linear(x, weight) for weight in weights]
