"""Qwen3: the torch module that holds its weights, with transformers' parameter names, and its forward as functions.

Computes hidden state -2 of the published model, so the module has neither the last layer nor the final norm. Shapes:
``N`` tokens, ``D`` the model's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zimage_app.models.networks.linears import Weight, linear, weight_of
from zimage_app.models.networks.streaming import Blocks

_ROPE_THETA = 10000.0
"""Default if a config names none, as in transformers."""


@dataclass(frozen=True, slots=True)
class Qwen3Config:
    """The settings in a Qwen3 config.json, under the same names; ``layers`` is the number of computed layers."""

    hidden_size: int
    intermediate_size: int
    layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Qwen3Config:
        """Read a config; raises ValueError for an unsupported variant of Qwen3, KeyError for a missing setting."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        variants = {
            "model_type": config.get("model_type") != "qwen3",
            "hidden_act": config.get("hidden_act", "silu") != "silu",
            "attention_bias": bool(config.get("attention_bias")),
            "use_sliding_window": bool(config.get("use_sliding_window")),
            "rope_type": rope.get("rope_type", "default") != "default",
        }
        for name, differs in variants.items():
            if differs:
                raise ValueError(f"{name} is {config.get(name, rope.get(name))}, unlike Qwen3-4B's")
        made = cls(
            **{name: int(config[name]) for name in _WHOLE},
            layers=int(config["num_hidden_layers"]) - 1,
            head_dim=int(config.get("head_dim") or 128),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", _ROPE_THETA))),
        )
        if made.num_attention_heads % made.num_key_value_heads or made.head_dim % 2:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads, and head_dim even")
        return made


_WHOLE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size")


class LayerWeights(NamedTuple):
    """One layer's weights."""

    attention_norm: Tensor
    q: Weight
    k: Weight
    v: Weight
    q_norm: Tensor
    k_norm: Tensor
    out: Weight
    feed_norm: Tensor
    gate: Weight
    up: Weight
    down: Weight


class _Attention(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        width, head = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(width, config.num_attention_heads * head, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * head, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * head, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * head, width, bias=False)
        self.q_norm = nn.RMSNorm(head)
        self.k_norm = nn.RMSNorm(head)


class _FeedForward(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)


class _Layer(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size)

    def weights(self) -> LayerWeights:
        """Return the weights in the form used by ``features``."""
        attention, feed = self.self_attn, self.mlp
        return LayerWeights(
            attention_norm=self.input_layernorm.weight,
            q=weight_of(attention.q_proj),
            k=weight_of(attention.k_proj),
            v=weight_of(attention.v_proj),
            q_norm=attention.q_norm.weight,
            k_norm=attention.k_norm.weight,
            out=weight_of(attention.o_proj),
            feed_norm=self.post_attention_layernorm.weight,
            gate=weight_of(feed.gate_proj),
            up=weight_of(feed.up_proj),
            down=weight_of(feed.down_proj),
        )


class Qwen3(nn.Module):
    """The model without its last layer, final norm and head."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens: Any = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))

    def blocks(self, device: torch.device) -> Blocks[LayerWeights]:
        """Return the layers' weights for computing on ``device``."""
        layers: Any = self.layers
        return Blocks([layer.weights() for layer in layers], device)


def features(texts: Sequence[Tensor], layers: Blocks[LayerWeights], config: Qwen3Config) -> list[Tensor]:
    """Return each text's hidden states (N, D) after the last layer, for embedded tokens (N, D) on the layers' device.

    Each text is computed by itself, so its values don't depend on the others; streamed layers are copied once for all.
    """
    ropes = [_rope(len(words), config, words) for words in texts]
    hidden = list(texts)
    for weights in layers:
        hidden = [_layer(x, weights, rope, config) for x, rope in zip(hidden, ropes, strict=True)]
    return hidden


def _rope(tokens: int, config: Qwen3Config, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (N, head) of the rotary angles, in float32 rounded to the dtype of ``like``."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(tokens, dtype=torch.float32), 1.0 / config.rope_theta**exponents)
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(like), angles.sin().to(like)


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Apply the rotary embedding to the halves of each head (Su et al. 2021, arXiv 2104.09864).

    ``x`` is (heads, N, head).
    """
    first, second = x.chunk(2, -1)
    return x * rope[0] + torch.cat((-second, first), -1) * rope[1]


def _norm(x: Tensor, weight: Tensor, config: Qwen3Config) -> Tensor:
    """Apply RMS norm in float32, rounded before the multiplication by the weight, as Qwen3 was trained."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + config.rms_norm_eps)).to(x.dtype)


def _layer(x: Tensor, weights: LayerWeights, rope: tuple[Tensor, Tensor], config: Qwen3Config) -> Tensor:
    """Compute one layer on ``x`` (N, D), with causal attention."""
    hidden = _norm(x, weights.attention_norm, config)
    q, k, v = (_heads(linear(hidden, weight), config) for weight in (weights.q, weights.k, weights.v))
    q = _rotate(_norm(q, weights.q_norm, config), rope)
    k = _rotate(_norm(k, weights.k_norm, config), rope)
    attended = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]
    x = x + linear(attended.transpose(0, 1).flatten(1), weights.out)
    hidden = _norm(x, weights.feed_norm, config)
    return x + linear(F.silu(linear(hidden, weights.gate)) * linear(hidden, weights.up), weights.down)


def _heads(x: Tensor, config: Qwen3Config) -> Tensor:
    """(N, heads * head) -> (heads, N, head)."""
    return torch.unflatten(x, -1, (-1, config.head_dim)).transpose(0, 1)
