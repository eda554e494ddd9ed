"""The torch module that holds the transformer's weights, with diffusers' parameter names.

``transformer.py`` has its forward; only the time embedder and the layers of ``torch.nn`` have one of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_TIME_WIDTH = 256
"""Width of the time embedding (or the model's, if that is narrower), and number of its cosines and sines."""
_TIME_HIDDEN = 1024
_SLOWEST = 10000.0
"""Bound of the sines' periods, divided by 2 pi."""


@dataclass(frozen=True)
class ZImageConfig:
    """The settings in a config.json, under the same names, with diffusers' defaults."""

    in_channels: int = 16
    dim: int = 3840
    n_layers: int = 30
    n_refiner_layers: int = 2
    n_heads: int = 30
    norm_eps: float = 1e-5
    cap_feat_dim: int = 2560
    rope_theta: float = 256.0
    t_scale: float = 1000.0
    axes_dims: tuple[int, ...] = (32, 48, 48)
    axes_lens: tuple[int, ...] = (1024, 512, 512)


class _TimeEmbedder(nn.Module):
    """Computes the embedding (T, width) of times (T,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_TIME_WIDTH, _TIME_HIDDEN), nn.SiLU(), nn.Linear(_TIME_HIDDEN, width))

    def forward(self, time: Tensor) -> Tensor:
        half = _TIME_WIDTH // 2
        steps = torch.arange(half, dtype=torch.float32, device=time.device)
        angles = time[:, None].float() * torch.exp(-math.log(_SLOWEST) * steps / half)
        mlp: Any = self.mlp
        embedded: Tensor = mlp(torch.cat([angles.cos(), angles.sin()], -1).to(mlp[0].weight.dtype))
        return embedded


class _Attention(nn.Module):
    def __init__(self, width: int, head: int, eps: float) -> None:
        super().__init__()
        self.norm_q = nn.RMSNorm(head, eps)
        self.norm_k = nn.RMSNorm(head, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=False)])


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(width / 3 * 8)
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)


class _Block(nn.Module):
    def __init__(self, config: ZImageConfig, *, modulation: bool) -> None:
        super().__init__()
        width, eps = config.dim, config.norm_eps
        self.attention = _Attention(width, width // config.n_heads, eps)
        self.feed_forward = _FeedForward(width)
        self.attention_norm1 = nn.RMSNorm(width, eps)
        self.ffn_norm1 = nn.RMSNorm(width, eps)
        self.attention_norm2 = nn.RMSNorm(width, eps)
        self.ffn_norm2 = nn.RMSNorm(width, eps)
        self.modulation = modulation
        if modulation:
            self.adaLN_modulation = nn.Sequential(nn.Linear(min(width, _TIME_WIDTH), 4 * width))


class _FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(min(width, _TIME_WIDTH), width))


class ZImage(nn.Module):
    """Z-Image's transformer, without a forward."""

    def __init__(self, config: ZImageConfig) -> None:
        super().__init__()
        self.config = config
        self.in_channels, self.n_heads, self.t_scale = config.in_channels, config.n_heads, config.t_scale
        width, channels = config.dim, 4 * config.in_channels
        self.all_x_embedder = nn.ModuleDict({"2-1": nn.Linear(channels, width)})
        self.all_final_layer = nn.ModuleDict({"2-1": _FinalLayer(width, channels)})
        self.noise_refiner = self._blocks(config.n_refiner_layers, modulation=True)
        self.context_refiner = self._blocks(config.n_refiner_layers, modulation=False)
        self.t_embedder = _TimeEmbedder(min(width, _TIME_WIDTH))
        norm = nn.RMSNorm(config.cap_feat_dim, config.norm_eps)
        self.cap_embedder = nn.Sequential(norm, nn.Linear(config.cap_feat_dim, width))
        self.x_pad_token = nn.Parameter(torch.zeros(1, width))
        self.cap_pad_token = nn.Parameter(torch.zeros(1, width))
        self.layers = self._blocks(config.n_layers, modulation=True)

    def _blocks(self, count: int, *, modulation: bool) -> nn.ModuleList:
        return nn.ModuleList(_Block(self.config, modulation=modulation) for _ in range(count))


def checked(config: dict[str, Any]) -> ZImageConfig:
    """Return the settings in a config; raises ValueError for a variant of Z-Image that isn't supported."""
    if list(config.pop("all_patch_size", [2])) != [2] or list(config.pop("all_f_patch_size", [1])) != [1]:
        raise ValueError("only patches of 2 x 2 in one frame are supported")
    heads = config.get("n_heads", ZImageConfig.n_heads)
    usual = config.pop("siglip_feat_dim", None) is None and config.pop("qk_norm", True)
    if not usual or config.pop("n_kv_heads", heads) != heads:
        raise ValueError("siglip_feat_dim, qk_norm or n_kv_heads differ from Z-Image's")
    lists: dict[str, Any] = {name: tuple(config[name]) for name in ("axes_dims", "axes_lens") if name in config}
    made = ZImageConfig(**(config | lists))
    width = made.n_heads * sum(made.axes_dims)
    if width != made.dim or len(made.axes_lens) != len(made.axes_dims):
        raise ValueError(f"n_heads x axes_dims is {width}, but dim is {made.dim}")
    return made
