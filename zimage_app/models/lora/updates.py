"""What a LoRA file does to a weight: the arithmetic of each kind of adapter, in float32. Knows no names and no files.

Formulas: LoRA (Hu et al. 2021, arXiv 2106.09685), LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098), LoKr (Yeh et al.
2023, arXiv 2309.14859), DoRA (Liu et al. 2024, arXiv 2402.09353). Where ComfyUI departs from a paper, ComfyUI counts
(HOW-IT-COMPUTES.md section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True, slots=True)
class LowRank:
    """A product of two factors: up (out, r) @ down (r, in)."""

    up: Tensor
    down: Tensor

    def product(self, device: torch.device) -> Tensor:
        """(out, in)."""
        return _f32(self.up, device) @ _f32(self.down, device)


@dataclass(frozen=True, slots=True)
class Full:
    """A matrix, or a vector, that is not factored."""

    value: Tensor

    def product(self, device: torch.device) -> Tensor:
        """The value itself."""
        return _f32(self.value, device)


@dataclass(frozen=True, slots=True)
class Hadamard:
    """LoHa: two low-rank products, multiplied entry by entry."""

    w1: LowRank
    w2: LowRank

    def product(self, device: torch.device) -> Tensor:
        """(out, in)."""
        return self.w1.product(device) * self.w2.product(device)


@dataclass(frozen=True, slots=True)
class Kronecker:
    """LoKr: w1 (a, b) and w2 (c, d) make (a c, b d)."""

    w1: LowRank | Full
    w2: LowRank | Full

    def product(self, device: torch.device) -> Tensor:
        """(out, in)."""
        return torch.kron(self.w1.product(device), self.w2.product(device))


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to a weight at strength 1: scale times the product."""

    product: LowRank | Full | Hadamard | Kronecker
    scale: float = 1.0

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """weight (float32) + strength * delta."""
        return weight + (strength * self.scale) * self.product.product(weight.device)


@dataclass(frozen=True, slots=True)
class Dora:
    """A delta whose sum with the weight is then given new lengths, by row or by column."""

    delta: Delta
    magnitude: Tensor
    """(out, 1) for rows or (1, in) for columns."""
    length_of: Literal["original", "sum"]
    """What the rows are measured on: ComfyUI's ``dora_scale`` takes the weight, PEFT's magnitude vector the sum.
    Columns are always measured on the sum."""

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """weight + strength * (V - weight), where V = (weight + delta) * magnitude / length."""
        total = self.delta.patched(weight, 1.0)
        by_row = self.magnitude.shape[0] == weight.shape[0]
        measured = weight if by_row and self.length_of == "original" else total
        length: Tensor = torch.linalg.vector_norm(measured, dim=1 if by_row else 0, keepdim=True) + _EPS
        return weight + strength * (total * (_f32(self.magnitude, weight.device) / length) - weight)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another value in the weight's place; the strength has no say, as in ComfyUI."""

    value: Tensor

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """The value."""
        del strength
        return _f32(self.value, weight.device)


Update = Delta | Dora | Replacement


def _f32(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device=device, dtype=torch.float32)
