"""Converts latents to small preview pictures, and decoded tensors to 8-bit pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zimage_app.domain.events import Picture
from zimage_app.models.components import PreviewFactors
from zimage_app.models.device import fetch


def previewer(factors: PreviewFactors, device: torch.device) -> Callable[[Tensor], Callable[[], Picture]]:
    """Return a function that makes previews of latents; call it once per stage, because it blocks.

    A preview is a linear guess at the picture: denoised (1, 16, h, w) in model space -> (h, w, 3), one pixel per cell.
    The returned function starts the computation; the function that it returns waits for the result.
    """
    made = torch.tensor((*factors.factors, factors.bias), dtype=torch.float32).to(device)
    weights, bias = made[:-1], made[-1]

    def preview(denoised: Tensor) -> Callable[[], Picture]:
        rgb = torch.einsum("chw,cr->hwr", denoised[0].float(), weights) + bias
        fetched = fetch(_bytes((rgb + 1.0) / 2.0))
        return lambda: np.ascontiguousarray(fetched().numpy())

    return preview


def to_picture(image: Tensor) -> Picture:
    """(h, w, 3) in 0…1 -> bytes, truncated as ComfyUI's SaveImage does, not rounded."""
    return np.ascontiguousarray(_bytes(image).cpu().numpy())


def _bytes(image: Tensor) -> Tensor:
    return (255.0 * image).clamp(0.0, 255.0).to(torch.uint8)
