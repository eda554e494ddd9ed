"""Pictures of latents, against ComfyUI's worked example."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from zimage_app.engine.preview import previewer, to_picture
from zimage_app.models.components import PreviewFactors
from zimage_app.models.load.loader import FLUX_PREVIEW

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_preview_is_comfyuis_to_the_byte() -> None:
    example = json.loads((GOLDEN / "misc.json").read_text(encoding="utf-8"))["preview"]
    assert [list(row) for row in FLUX_PREVIEW.factors] == example["factors"]
    latent = load_file(GOLDEN / "e2e_i_default.safetensors")[example["input"].split(": ")[1]]
    picture = previewer(FLUX_PREVIEW, latent.device)(latent)()
    assert [picture.shape[1], picture.shape[0]] == example["size"]
    assert picture[0].reshape(-1).tolist() == example["first_row"]
    assert int(picture.astype(int).sum()) == example["sum"]


def test_a_plain_colour_comes_out_as_it_is() -> None:
    factors = PreviewFactors(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (0.0, 0.0, 0.0))
    latent = torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 5)
    assert previewer(factors, latent.device)(latent)()[1, 4].tolist() == [255, 127, 0]


def test_bytes_are_truncated_not_rounded() -> None:
    image = torch.tensor([0.999, 0.5, 1.5, -1.0]).reshape(2, 2, 1).expand(2, 2, 3)
    assert to_picture(image)[..., 0].reshape(-1).tolist() == [254, 127, 255, 0]
