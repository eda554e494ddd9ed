"""The arithmetic of each kind of adapter, in float32.

Formulas: LoRA (Hu et al. 2021, arXiv 2106.09685), LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098), LoKr (Yeh et al.
2023, arXiv 2309.14859), DoRA (Liu et al. 2024, arXiv 2402.09353). Where ComfyUI differs from a paper, ComfyUI is
followed (HOW-IT-COMPUTES.md section 8).
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
        """Return the product (out, in) in float32."""
        return _f32(self.up, device) @ _f32(self.down, device)


@dataclass(frozen=True, slots=True)
class Full:
    """A matrix or vector that isn't factored."""

    value: Tensor

    def product(self, device: torch.device) -> Tensor:
        """Return the value in float32."""
        return _f32(self.value, device)


@dataclass(frozen=True, slots=True)
class Hadamard:
    """LoHa: two low-rank products, multiplied elementwise."""

    w1: LowRank
    w2: LowRank

    def product(self, device: torch.device) -> Tensor:
        """Return the product (out, in) in float32."""
        return self.w1.product(device) * self.w2.product(device)


@dataclass(frozen=True, slots=True)
class Kronecker:
    """LoKr: w1 (a, b) and w2 (c, d) make (a c, b d)."""

    w1: LowRank | Full
    w2: LowRank | Full

    def product(self, device: torch.device) -> Tensor:
        """Return the product (out, in) in float32."""
        return torch.kron(self.w1.product(device), self.w2.product(device))


@dataclass(frozen=True, slots=True)
class Delta:
    """The difference added to a weight at strength 1: scale times the product."""

    product: LowRank | Full | Hadamard | Kronecker
    scale: float = 1.0

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """Return weight + strength * delta; ``weight`` is float32."""
        return weight + (strength * self.scale) * self.product.product(weight.device)


@dataclass(frozen=True, slots=True)
class Dora:
    """DoRA: the sum of weight and delta is rescaled to trained norms, by row or by column."""

    delta: Delta
    magnitude: Tensor
    """(out, 1) for rows or (1, in) for columns."""
    length_of: Literal["original", "sum"]
    """Whose row norms are divided by: the weight's for ComfyUI's ``dora_scale``, the sum's for PEFT's magnitude vector.
    Column norms are always the sum's."""

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """Return weight + strength * (V - weight), where V = (weight + delta) * magnitude / length."""
        total = self.delta.patched(weight, 1.0)
        by_row = self.magnitude.shape[0] == weight.shape[0]
        measured = weight if by_row and self.length_of == "original" else total
        length: Tensor = torch.linalg.vector_norm(measured, dim=1 if by_row else 0, keepdim=True) + _EPS
        return weight + strength * (total * (_f32(self.magnitude, weight.device) / length) - weight)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Replaces the weight by another value; as in ComfyUI, the strength is ignored."""

    value: Tensor

    def patched(self, weight: Tensor, strength: float) -> Tensor:
        """Return the value in float32; ``strength`` is ignored."""
        del strength
        return _f32(self.value, weight.device)


Update = Delta | Dora | Replacement


def _f32(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device=device, dtype=torch.float32)
