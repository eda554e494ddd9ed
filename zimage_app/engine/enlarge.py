"""Enlarges a picture with an upscaler in overlapping tiles, so that peak memory doesn't grow with the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from zimage_app.domain.errors import LoadingCancelled
from zimage_app.domain.events import Picture
from zimage_app.engine.memory_savings import out_of_memory
from zimage_app.models.device import empty_cache, is_out_of_memory
from zimage_app.models.networks.esrgan import UpscalerModel

TILES = (512, 256, 128, 64)
"""Side lengths of a tile in pixels; when memory runs out, the next smaller one is tried."""
MARGIN = 32
"""Pixels of context added around a tile and cropped from the result; a multiple of 4 for pixel-unshuffle models."""


@torch.inference_mode()
def enlarged(
    picture: Picture,
    upscaler: UpscalerModel,
    device: torch.device,
    cancelled: Callable[[], bool],
    tiles: tuple[int, ...] = TILES,
) -> Picture:
    """Return the picture enlarged ``upscaler.scale`` times on both sides.

    Raises:
        LoadingCancelled: ``cancelled()`` returned true; it is called before every tile.
        GenerationError: memory ran out even with the smallest tiles.
    """
    for tile in tiles:
        try:
            network = upscaler.network.to(device)
            return _in_tiles(picture, network, upscaler.scale, tile, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the traceback's frames keep the failed attempt's tensors alive until here.
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
    """Upscale the (rows, columns) in ``place`` with a margin around them; return them without the margin."""
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
