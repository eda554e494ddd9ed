"""Enlarging a picture with an upscaler, in overlapping tiles, so that the size of the picture costs no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from zimage_app.domain.errors import LoadingCancelled
from zimage_app.domain.events import Picture
from zimage_app.engine.relief import is_out_of_memory, out_of_memory
from zimage_app.models.device import empty_cache
from zimage_app.models.networks.esrgan import Upscaler

TILES = (512, 256, 128, 64)
"""Pixels of a tile's sides: where memory runs out, smaller ones are tried."""
MARGIN = 32
"""Pixels around a tile that the model sees and that are cut off again. Multiples of 4, as unshuffling models need."""


@torch.inference_mode()
def enlarged(
    picture: Picture,
    upscaler: Upscaler,
    device: torch.device,
    cancelled: Callable[[], bool],
    tiles: tuple[int, ...] = TILES,
) -> Picture:
    """The picture, ``upscaler.scale`` times as large.

    Raises:
        LoadingCancelled: ``cancelled``, which is asked before every tile, said so.
        GenerationError: memory ran out with the smallest tiles.
    """
    for tile in tiles:
        try:
            network = upscaler.network.to(device)
            return _in_tiles(picture, network, upscaler.scale, tile, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here, where the error's frames are gone, is the memory of what failed free again.
        empty_cache()
    raise out_of_memory("")


def _in_tiles(picture: Picture, network: nn.Module, scale: int, tile: int, cancelled: Callable[[], bool]) -> Picture:
    height, width, channels = picture.shape
    result = np.empty((height * scale, width * scale, channels), np.uint8)
    for rows in _spans(height, tile):
        for columns in _spans(width, tile):
            if cancelled():
                raise LoadingCancelled
            result[_scaled(rows, scale), _scaled(columns, scale)] = _tile(picture, network, scale, (rows, columns))
    return result


def _tile(picture: Picture, network: nn.Module, scale: int, place: tuple[slice, slice]) -> Picture:
    """A part of the enlarged picture, made of the same part of the picture and a margin around it."""
    seen = tuple(slice(max(0, span.start - MARGIN), span.stop + MARGIN) for span in place)
    device = next(network.parameters()).device
    pixels = torch.from_numpy(picture[seen].copy()).to(device).permute(2, 0, 1).unsqueeze(0).float() / 255.0
    made = network(pixels).clamp(0.0, 1.0)[0].permute(1, 2, 0).mul(255.0).round().to(torch.uint8).cpu().numpy()
    inner = (
        _scaled(slice(span.start - around.start, span.stop - around.start), scale)
        for span, around in zip(place, seen, strict=True)
    )
    part: Picture = made[tuple(inner)]
    return part


def _spans(length: int, tile: int) -> Iterator[slice]:
    return (slice(start, min(start + tile, length)) for start in range(0, length, tile))


def _scaled(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)
