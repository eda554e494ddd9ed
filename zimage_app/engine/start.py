"""The latent that sampling starts from: encoding a picture, VAE space and model space, adding noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Picture
from zimage_app.domain.text import Text
from zimage_app.models.components import Components, LatentFormat


def encoded(picture: Picture, components: Components) -> Tensor:
    """Encode a picture to a latent (1, 16, h, w) in VAE space, float32, on the CPU.

    Raises:
        GenerationError: the VAE returned values that are not finite.
    """
    latent = components.codec.encode(torch.from_numpy(np.array(picture)).float() / 255.0)
    if not bool(torch.isfinite(latent).all()):
        raise GenerationError(
            Text(
                "The VAE gave values that are not finite for the start picture; use another picture or dtype.",
                "VAE 编码起始图片时出现非有限数值；请换一张图片或更换 dtype。",
            )
        )
    return latent


def to_model_space(latent: Tensor, form: LatentFormat) -> Tensor:
    """Convert VAE space to model space. An all-zero (empty) latent stays zero, because ComfyUI doesn't shift it."""
    return (latent - form.shift) * form.scale if bool(torch.any(latent != 0)) else latent


def to_vae_space(latent: Tensor, form: LatentFormat) -> Tensor:
    """Convert model space to VAE space."""
    return latent / form.scale + form.shift


def noised(latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Add noise as a flow model does: ``sigma noise + (1 - sigma) latent``, model space, float32."""
    level = torch.tensor(sigma, dtype=torch.float32)
    return level * noise + (1.0 - level) * latent
