"""Latents to pictures. Knows the autoencoder and nothing of how a latent came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class VaeCodec:
    """diffusers' ``AutoencoderKL`` behind the Codec protocol."""

    def __init__(self, module: AutoencoderKL) -> None:
        self.module: Any = module
        if module.device.type == "cpu":
            # Convolutions on the CPU are quicker with the channels last, and the same but for rounding.
            self.module = module.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Latent in VAE space (1, 16, h, w) -> picture (8h, 8w, 3), float32 on the CPU, 0…1.

        The latent goes straight into the decoder (workflow.md section 2); y in -1…1 becomes (y + 1) / 2, clamped.
        """
        placed = latent.to(self.module.device, self.module.dtype)
        decoded: Tensor = self.module.decode(placed, return_dict=False)[0]
        picture = ((decoded[0].float() + 1.0) / 2.0).clamp(0.0, 1.0)
        return picture.permute(1, 2, 0).contiguous().cpu()
