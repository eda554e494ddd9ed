"""What the tests of this folder compare with: diffusers' own forward, on toy weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights
from zimage_app.models.networks.qwen3 import features

GOLDEN_CONFIG: dict[str, Any] = {
    "dim": 256,
    "n_layers": 4,
    "n_refiner_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 64,
    "axes_lens": [1536, 512, 512],
}


def golden_module(dtype: torch.dtype = torch.float32) -> Any:
    """A fresh diffusers transformer with the weights of the golden files."""
    from diffusers import ZImageTransformer2DModel
    from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers

    with torch.device("meta"):
        module = ZImageTransformer2DModel(**GOLDEN_CONFIG)
    weights = {key: tensor.to(dtype) for key, tensor in tiny_weights().items()}
    weights = convert_z_image_transformer_checkpoint_to_diffusers(weights)
    module.load_state_dict(weights, strict=True, assign=True)
    norms_as_comfyui(module)
    return module.eval().requires_grad_(False)


def norms_as_comfyui(module: Any) -> None:
    """Give the norms of queries and keys ComfyUI's epsilon in the place of diffusers' 1e-5."""
    for block in (*module.noise_refiner, *module.context_refiner, *module.layers):
        block.attention.norm_q.eps = block.attention.norm_k.eps = torch.finfo(torch.float32).eps


@torch.no_grad()
def stock_velocity(module: Any, x: Tensor, sigma: float, captions: Sequence[Tensor]) -> Tensor:
    """ComfyUI's velocity by diffusers' forward: -net at time 1 - sigma."""
    time = (1.0 - torch.tensor([sigma], dtype=torch.float32)).expand(x.shape[0])
    out = module([row[:, None] for row in x], time, list(captions), return_dict=False)[0]
    return -torch.stack([row[:, 0] for row in out])


def hidden_state(model: Any, ids: Tensor) -> Tensor:
    """The features (1, tokens, channels) that our Qwen3 has for token ids (1, tokens)."""
    (hidden,) = features([model.embed_tokens(ids[0])], model.blocks(torch.device("cpu")), model.config)
    return hidden[None]


def rel(found: Tensor, wanted: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
