"""Tiles: the same picture as all at once, stopped between two of them, and smaller ones where memory runs out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.models.upscaler_files import weights
from zimage_app.domain.errors import GenerationError, LoadingCancelled
from zimage_app.engine.enlarge import enlarged
from zimage_app.models.networks.esrgan import UpscalerModel, read_upscaler

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(1).integers(0, 256, (90, 75, 3), dtype=np.uint8)


def never() -> bool:
    return False


@pytest.mark.parametrize("shape", [(2, 1), (2, 2)])
def test_tiles_give_what_the_whole_picture_gives(tmp_path: Path, shape: tuple[int, int]) -> None:
    safetensors.torch.save_file(weights(*shape), tmp_path / "some.safetensors")
    upscaler = read_upscaler(tmp_path / "some.safetensors")
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1).unsqueeze(0).float() / 255.0
    whole = upscaler.network(pixels).clamp(0, 1)[0].permute(1, 2, 0).mul(255).round().numpy()
    tiled = enlarged(PICTURE, upscaler, CPU, never, tiles=(32,))
    assert tiled.shape == (90 * upscaler.scale, 75 * upscaler.scale, 3)
    assert np.abs(tiled - whole).max() <= 1  # a rounding of the last digit
    assert (tiled == whole).mean() > 0.999


class _Doubling(nn.Module):
    """Doubles the size; runs out of memory where a side has more than ``most`` pixels."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.most = most
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        self.seen.append((height, width))
        if max(height, width) > self.most:
            raise torch.OutOfMemoryError
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_tiles_become_smaller_where_memory_runs_out() -> None:
    network = _Doubling(most=80)
    made = enlarged(PICTURE, UpscalerModel(network, 2, ""), CPU, never, tiles=(64, 16))
    np.testing.assert_array_equal(made, PICTURE.repeat(2, 0).repeat(2, 1))
    assert network.seen[0] == (90, 75)
    assert max(map(max, network.seen[1:])) == 16 + 2 * 32
    with pytest.raises(GenerationError, match="ran out of memory"):
        enlarged(PICTURE, UpscalerModel(_Doubling(most=20), 2, ""), CPU, never, tiles=(64, 16))


def test_it_is_stopped_between_two_tiles() -> None:
    network = _Doubling(most=200)
    with pytest.raises(LoadingCancelled):
        enlarged(PICTURE, UpscalerModel(network, 2, ""), CPU, lambda: len(network.seen) == 2, tiles=(32,))
    assert len(network.seen) == 2
