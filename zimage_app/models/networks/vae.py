"""Converts latents to pictures and back, with the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zimage_app.models.networks.autoencoder import Doubling

_TILE = 48
"""Edge of a tile in latent cells; 384 pixels."""
_OVERLAP = 12
"""Width in latent cells of the overlap in which neighbouring tiles are blended."""
_PIXELS = 8
"""Pixels along the edge of a latent cell."""


class VaeCodec:
    """Implements the Codec protocol with an ``Autoencoder``, or diffusers' module, which has the same parts."""

    def __init__(self, module: Any) -> None:
        self.module = module
        weight = next(module.parameters())
        self._device = weight.device
        self._dtype = weight.dtype
        # Only image-to-image uses the encoder, so it stays in the computer's memory (on a CPU, mapped from its file).
        self.module.encoder.to("cpu")
        if self._device.type == "cpu":
            # On a CPU, both are faster, and equal up to rounding.
            self.module.decoder.to(memory_format=torch.channels_last)
            for layer in self.module.decoder.modules():
                if isinstance(layer, Doubling) and self._dtype == torch.float32:
                    layer.join()

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode a latent in VAE space (1, 16, h, w) to a picture (8h, 8w, 3), float32 on the CPU, 0…1.

        The decoder's output y in -1…1 becomes (y + 1) / 2, clamped (HOW-IT-COMPUTES.md section 2).
        """
        return _picture(self._pixels(latent.to(self._device, self._dtype)))

    @torch.no_grad()
    def decode_tiled(self, latent: Tensor) -> Tensor:
        """Decode tile by tile, with a fraction of the memory that ``decode`` needs.

        If there are several tiles, colours differ slightly, because the decoder's norms are computed per tile.
        """
        placed = latent.to(self._device, self._dtype)
        rows = [[self._pixels(tile) for tile in _tiles(row, 3)] for row in _tiles(placed, 2)]
        return _picture(_blended([_blended(row, 3) for row in rows], 2))

    def _pixels(self, latent: Tensor) -> Tensor:
        if self.module.post_quant_conv is not None:
            latent = self.module.post_quant_conv(latent)
        pixels: Tensor = self.module.decoder(latent)
        return pixels

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        """Encode a picture (8h, 8w, 3), 0…1, to a latent in VAE space (1, 16, h, w), float32 on the CPU.

        Returns the mean of the encoder's distribution, as ComfyUI's VAEEncode does, so the result is deterministic.
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


def _picture(pixels: Tensor) -> Tensor:
    """(1, 3, h, w) in -1…1 -> (h, w, 3) in 0…1, float32 on the CPU."""
    return ((pixels[0].float() + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 0).contiguous().cpu()


def _tiles(latent: Tensor, axis: int) -> list[Tensor]:
    """Split a latent along an axis into overlapping tiles; the last one may be shorter."""
    length, step = latent.shape[axis], _TILE - _OVERLAP
    starts = range(0, max(1, length - _OVERLAP), step)
    return [latent.narrow(axis, start, min(_TILE, length - start)) for start in starts]


def _blended(tiles: Sequence[Tensor], axis: int) -> Tensor:
    """Join decoded tiles along an axis, blending linearly where they overlap."""
    shared = _OVERLAP * _PIXELS
    whole = tiles[0]
    for tile in tiles[1:]:
        shape = [1, 1, 1, 1]
        shape[axis] = shared
        share = (torch.arange(shared, device=tile.device, dtype=tile.dtype) / shared).view(shape)
        seam = torch.lerp(whole.narrow(axis, whole.shape[axis] - shared, shared), tile.narrow(axis, 0, shared), share)
        kept = whole.narrow(axis, 0, whole.shape[axis] - shared)
        whole = torch.cat([kept, seam, tile.narrow(axis, shared, tile.shape[axis] - shared)], axis)
    return whole
