"""The tiny Z-Image weights of the golden files, made again (original key names, bfloat16) instead of kept: 17 MB.

Usage: python -m tests.golden.make_tiny_weights OUT.safetensors
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file
from torch import Tensor

DIM, LAYERS, REFINERS, CAPTION, HIDDEN, PATCH = 256, 4, 2, 64, 682, 64
NORMS = {"attention_norm1": 1.0, "ffn_norm1": 1.0, "attention_norm2": 1.2, "ffn_norm2": 0.3}


class _Draws:
    """Normal numbers from one seeded generator; their order is part of the weights."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def block(self, prefix: str, *, modulated: bool) -> dict[str, Tensor]:
        """One transformer block."""
        weights = {
            prefix + "attention.qkv.weight": self(3 * DIM, DIM) / 16,
            prefix + "attention.out.weight": self(DIM, DIM) / 16,
            prefix + "attention.q_norm.weight": 0.8 + 0.1 * self(128),
            prefix + "attention.k_norm.weight": 0.8 + 0.1 * self(128),
            prefix + "feed_forward.w1.weight": self(HIDDEN, DIM) / 16,
            prefix + "feed_forward.w2.weight": self(DIM, HIDDEN) / 26,
            prefix + "feed_forward.w3.weight": self(HIDDEN, DIM) / 16,
        }
        for name in ("attention_norm1", "ffn_norm1", "attention_norm2", "ffn_norm2"):
            weights[f"{prefix}{name}.weight"] = NORMS[name] + 0.1 * self(DIM)
        if modulated:
            weights[prefix + "adaLN_modulation.0.weight"] = 0.06 * self(4 * DIM, 256)
            bias = 0.1 * self(4 * DIM)
            bias[DIM : 2 * DIM] += 0.5
            bias[3 * DIM :] += 0.5
            weights[prefix + "adaLN_modulation.0.bias"] = bias
        return weights


def tiny_weights(seed: int = 20260107) -> dict[str, Tensor]:
    """State dict of a 4-layer model in bfloat16; the same on every machine."""
    normal = _Draws(seed)
    embed = normal(DIM, PATCH) / 16
    weights = {"x_embedder.weight": embed, "x_embedder.bias": 2.0 * normal(DIM)}
    for index in range(REFINERS):
        weights |= normal.block(f"noise_refiner.{index}.", modulated=True)
    for index in range(REFINERS):
        weights |= normal.block(f"context_refiner.{index}.", modulated=False)
    # Only the slow time frequencies, so that the golden runs do not hang on the last bits of t.
    slow_only = torch.sigmoid((torch.arange(128).float() - 84.0) / 4.0).repeat(2)
    weights |= {
        "t_embedder.mlp.0.weight": 0.16 * normal(1024, 256) * slow_only,
        "t_embedder.mlp.0.bias": 0.1 * normal(1024),
        "t_embedder.mlp.2.weight": 0.06 * normal(256, 1024),
        "t_embedder.mlp.2.bias": 0.1 * normal(256),
        "cap_embedder.0.weight": 1.0 + 0.1 * normal(CAPTION),
        "cap_embedder.1.weight": normal(DIM, CAPTION) / 8,
        "cap_embedder.1.bias": 0.1 * normal(DIM),
    }
    for index in range(LAYERS):
        weights |= normal.block(f"layers.{index}.", modulated=True)
    weights |= {
        "final_layer.linear.weight": -0.45 * embed.t().contiguous() + 0.6 * normal(PATCH, DIM) / 16,
        "final_layer.linear.bias": 0.05 * normal(PATCH),
        "final_layer.adaLN_modulation.1.weight": 0.03 * normal(DIM, 256),
        "final_layer.adaLN_modulation.1.bias": 0.1 * normal(DIM),
        "x_pad_token": 0.5 * normal(1, DIM),
        "cap_pad_token": 0.5 * normal(1, DIM),
    }
    return {key: value.to(torch.bfloat16).contiguous() for key, value in weights.items()}


if __name__ == "__main__":
    save_file(tiny_weights(), sys.argv[1])
