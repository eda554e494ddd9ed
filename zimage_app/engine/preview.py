"""Converts latents to small preview pictures, and decoded tensors to 8-bit pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zimage_app.domain.events import Picture
from zimage_app.models.components import PreviewFactors


def latent_to_rgb(denoised: Tensor, factors: PreviewFactors) -> Picture:
    """Approximate the picture linearly: denoised (1, 16, h, w), model space -> uint8 (h, w, 3), one pixel per cell."""
    weights = torch.tensor(factors.factors, dtype=torch.float32, device=denoised.device)
    bias = torch.tensor(factors.bias, dtype=torch.float32, device=denoised.device)
    rgb = torch.einsum("chw,cr->hwr", denoised[0].float(), weights) + bias
    return to_picture(((rgb + 1.0) / 2.0).clamp(0.0, 1.0))


def to_picture(image: Tensor) -> Picture:
    """Convert (h, w, 3) in 0…1 to uint8, truncating as ComfyUI's SaveImage does instead of rounding."""
    bytes_ = (255.0 * image).clamp(0.0, 255.0).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(bytes_)
