"""One transformer block of Z-Image as a function of its input and its weights.

Shapes: ``D`` the model's width, ``F`` the feed-forward network's, ``N`` tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zimage_app.models.networks.attention import Sequences, attention
from zimage_app.models.networks.kernels import DEFAULT, Kernels
from zimage_app.models.networks.linears import Weight, linear, linears


class BlockWeights(NamedTuple):
    """The weights of a block; fused ones share their storage with the module's parameters."""

    qkv: tuple[Weight, ...]
    """to_q, to_k and to_v stacked (3D, D), or separate (D, D)."""
    norm_q: Tensor
    norm_k: Tensor
    out: Weight
    w13: tuple[Weight, ...]
    """w1 and w3 of the feed-forward network stacked (2F, D), or separate (F, D)."""
    w2: Weight


class BlockShape(NamedTuple):
    """Parameters that all blocks share."""

    heads: int
    eps: float
    qk_eps: float
    kernels: Kernels = DEFAULT


def block(
    x: Tensor,
    weights: BlockWeights,
    norms: Sequence[Tensor],
    rope: Tensor,
    shape: BlockShape,
    sequences: Sequences,
) -> Tensor:
    """Compute a block on ``x`` (rows, N, D); ``norms`` are the (modulated) weights of its four RMS norms."""
    width = (x.shape[-1],)
    attention_in, attention_out, feed_in, feed_out = norms
    hidden = F.rms_norm(x, width, attention_in, shape.eps)
    q, k, v = (torch.unflatten(part, -1, (shape.heads, -1)) for part in linears(hidden, weights.qkv, 3))
    q = shape.kernels.norm_rope(q, weights.norm_q, rope, shape.qk_eps)
    k = shape.kernels.norm_rope(k, weights.norm_k, rope, shape.qk_eps)
    hidden = linear(attention(q, k, v, sequences, shape.kernels.attend), weights.out)
    x = x + F.rms_norm(hidden, width, attention_out, shape.eps)
    gate, up = linears(F.rms_norm(x, width, feed_in, shape.eps), weights.w13, 2)
    hidden = linear(shape.kernels.gate(gate, up), weights.w2)
    return x + F.rms_norm(hidden, width, feed_out, shape.eps)
