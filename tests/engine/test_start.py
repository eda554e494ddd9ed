"""The first latent of a stage: sizes, spaces and noise, against ComfyUI's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from zimage_app.engine.handover.resize import bislerp, resize
from zimage_app.engine.noise import initial_noise
from zimage_app.engine.start import noised, to_model_space, to_vae_space
from zimage_app.models.components import LatentFormat

GOLDEN = Path(__file__).parents[1] / "golden"
FORM = LatentFormat()


@pytest.fixture(scope="module")
def misc() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / "misc.json").read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="module")
def run_latents() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "e2e_i_default.safetensors")


def test_nearest_exact_takes_comfyuis_cells(misc: dict[str, Any]) -> None:
    for name, cells in misc["nearest_exact"].items():
        old, new = (int(part) for part in name.split("->"))
        row = torch.arange(old, dtype=torch.float32).expand(1, 1, 2, old)
        assert resize(row, (2, new), "nearest-exact")[0, 0, 0].tolist() == cells


def test_the_hand_over_is_comfyuis(run_latents: dict[str, torch.Tensor]) -> None:
    resized = resize(run_latents["off.stage1"], (54, 42), "nearest-exact")
    torch.testing.assert_close(resized, run_latents["off.stage2_in_upscaled"], rtol=0, atol=0)
    noise = initial_noise((1, 16, 54, 42), 182450993364532)
    start = noised(to_model_space(resized, FORM), noise, 0.7145714163780212)
    torch.testing.assert_close(start, run_latents["off.stage2_x_before_step0"], rtol=0, atol=1e-6)


def test_an_empty_latent_stays_empty() -> None:
    empty = torch.zeros(1, 16, 4, 4)
    assert to_model_space(empty, FORM) is empty
    noise = torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(noised(empty, noise, 1.0), noise, rtol=0, atol=0)


def test_spaces_are_each_others_inverse() -> None:
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(to_vae_space(to_model_space(latent, FORM), FORM), latent, rtol=0, atol=5e-7)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "bicubic", "area", "bislerp"])
def test_every_method_keeps_a_plain_picture_plain(method: Any) -> None:
    plain = torch.arange(1.0, 17.0).reshape(1, 16, 1, 1).expand(1, 16, 6, 4)
    for size in ((9, 7), (3, 2), (6, 4)):
        resized = resize(plain, size, method)
        assert resized.shape == (1, 16, *size)
        torch.testing.assert_close(resized, plain[..., :1, :1].expand(1, 16, *size), rtol=1e-5, atol=1e-5)


def test_bislerp_keeps_length_where_a_straight_mixture_shrinks() -> None:
    latent = torch.zeros(1, 2, 1, 2)
    latent[0, 0, 0, 0] = 1.0  # two unit vectors at right angles
    latent[0, 1, 0, 1] = 1.0
    torch.testing.assert_close(bislerp(latent, (1, 6)).norm(dim=1), torch.ones(1, 1, 6), rtol=0, atol=1e-6)
    assert resize(latent, (1, 6), "bilinear").norm(dim=1).min() < 0.75


def test_bislerp_leaves_neighbours_of_one_direction_as_they_are() -> None:
    """As in ComfyUI: where only the length differs, as it may in a flat sky, the nearer cell before it is taken."""
    direction = torch.nn.functional.normalize(torch.arange(1.0, 17.0), dim=0).reshape(1, 16, 1, 1)
    latent = direction * torch.tensor([1.0, 3.0])
    lengths = bislerp(latent, (1, 6)).norm(dim=1).flatten()
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0, 3.0]))
    opposite = bislerp(direction * torch.tensor([1.0, -1.0]), (1, 6)) / direction
    torch.testing.assert_close(
        opposite[0, 0, 0], torch.tensor([1.0, 1.0, 1 / 3, -1 / 3, -1.0, -1.0]), atol=1e-6, rtol=0
    )


def test_bislerp_survives_opposites_and_zeros() -> None:
    latent = torch.zeros(1, 2, 1, 3)
    latent[0, 0, 0] = torch.tensor([1.0, -1.0, 0.0])
    assert torch.isfinite(bislerp(latent, (3, 7))).all()
