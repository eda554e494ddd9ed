"""Latents to pictures and back. Knows the autoencoder and nothing of how a latent came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


_TILE = 48
"""Latent cells along a tile's edge: 384 pixels, of which a quarter is blended with the next tile."""


class VaeCodec:
    """diffusers' ``AutoencoderKL`` behind the Codec protocol."""

    def __init__(self, module: AutoencoderKL) -> None:
        self.module: Any = module
        self.module.tile_latent_min_size = _TILE
        self.module.tile_sample_min_size = 8 * _TILE
        self._device: torch.device = module.device
        self._dtype: torch.dtype = module.dtype
        # Only image-to-image encodes, so the encoder waits in the computer's memory, and on a CPU in its file.
        self.module.encoder.to("cpu")
        if self._device.type == "cpu":
            # Convolutions on the CPU are quicker with the channels last, and the same but for rounding.
            self.module.decoder.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Latent in VAE space (1, 16, h, w) -> picture (8h, 8w, 3), float32 on the CPU, 0…1.

        The latent goes straight into the decoder; y in -1…1 becomes (y + 1) / 2, clamped (HOW-IT-COMPUTES.md
        section 2).
        """
        return self._decoded(latent)

    @torch.no_grad()
    def decode_tiled(self, latent: Tensor) -> Tensor:
        """Decode in a fraction of the memory that ``decode`` takes.

        Where the latent is larger than a tile, colours differ a little: the decoder's norms see a tile, not the whole.
        """
        self.module.enable_tiling()
        try:
            return self._decoded(latent)
        finally:
            self.module.disable_tiling()

    def _decoded(self, latent: Tensor) -> Tensor:
        placed = latent.to(self._device, self._dtype)
        decoded: Tensor = self.module.decode(placed, return_dict=False)[0]
        picture = ((decoded[0].float() + 1.0) / 2.0).clamp(0.0, 1.0)
        return picture.permute(1, 2, 0).contiguous().cpu()

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        """Picture (8h, 8w, 3), 0…1 -> latent in VAE space (1, 16, h, w), float32 on the CPU.

        The mean of the encoder's distribution, as ComfyUI's VAEEncode gives it: the same picture, the same latent.
        """
        module = self.module
        placed = (picture.permute(2, 0, 1)[None] * 2.0 - 1.0).to(self._device, self._dtype)
        try:
            moments: Tensor = module.encoder.to(self._device)(placed)
        finally:
            module.encoder.to("cpu")
        if module.quant_conv is not None:
            moments = module.quant_conv(moments)
        return moments.chunk(2, dim=1)[0].float().cpu()
