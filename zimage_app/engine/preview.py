"""Latents and decoded tensors as small pictures. Cheap, and never part of the result's arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zimage_app.domain.events import Picture
from zimage_app.models.components import PreviewFactors


def latent_to_rgb(denoised: Tensor, factors: PreviewFactors) -> Picture:
    """A linear guess at the picture: denoised (1, 16, h, w) in model space -> (h, w, 3), one pixel per cell."""
    weights = torch.tensor(factors.factors, dtype=torch.float32, device=denoised.device)
    bias = torch.tensor(factors.bias, dtype=torch.float32, device=denoised.device)
    rgb = torch.einsum("chw,cr->hwr", denoised[0].float(), weights) + bias
    return to_picture(((rgb + 1.0) / 2.0).clamp(0.0, 1.0))


def to_picture(image: Tensor) -> Picture:
    """(h, w, 3) in 0…1 -> bytes, truncated as ComfyUI's SaveImage does, not rounded."""
    bytes_ = (255.0 * image).clamp(0.0, 255.0).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(bytes_)
