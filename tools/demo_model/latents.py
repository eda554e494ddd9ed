"""Builds the training set: latents of drawn scenes in all shapes and at the three sizes, the same scenes in each.

    python -m tools.demo_model.latents --vae WORK/vae --out WORK/latents

There are fewer large scenes, because they are expensive to train on; index ``i`` is the same scene at every size.
"""

import argparse
import functools
import logging
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from tools.demo_model.render import SHAPES, SIZES, Size, render
from tools.demo_model.scene import Scene, sample_scene

COUNTS: dict[int, int] = {176: 24000, 336: 14000, 672: 9000}
"""Width of a 7:9 picture -> number of scenes; the training calls the three sizes by these widths in every shape."""
OTHER_SHAPES = 0.25
"""Share of the scenes that are drawn in each of the other shapes, too."""
HELD_OUT = 16
"""Number of first scenes that are never trained on."""
CHUNK = 250
"""Number of scenes per task of a worker process."""
SCENE_SEED = 2026
PATCH = 8
"""Side of the square of picture pixels that one latent pixel encodes."""

log = logging.getLogger(__name__)

Latents = npt.NDArray[np.float16]


def training_scenes(count: int) -> list[Scene]:
    """Return the first ``count`` scenes; always the same ones."""
    rng = random.Random(SCENE_SEED)
    return [sample_scene(rng) for _ in range(count)]


def to_tensor(images: list[Image.Image]) -> Tensor:
    """Convert RGB pictures of one size to (count, 3, height, width) in -1..1."""
    pixels = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def through_vae(vae: AutoencoderKL, image: Image.Image) -> Image.Image:
    """Encode and decode a picture."""
    back = vae.decode(vae.encode(to_tensor([image])).latent_dist.mean).sample[0].clamp(-1, 1)
    return Image.fromarray(((back.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())


def patches(pictures: Tensor) -> Tensor:
    """Convert (count, 3, height, width) to 8x8 patches (count, height / 8 * width / 8, 193), the last value being 1."""
    rows = F.unfold(pictures, PATCH, stride=PATCH).permute(0, 2, 1)
    return torch.cat([rows, torch.ones(*rows.shape[:2], 1)], -1)


@torch.no_grad()
def linear_encoder(vae: Any) -> Tensor:
    """Return the VAE's encoder as one matrix (193, 16) from patch to model-space latent.

    The encoder is linear by construction (:mod:`tools.demo_model.vae`), so a few encodings determine it, and a
    matrix product encodes a hundred times faster than the network.
    """
    scenes = training_scenes(40)
    pictures = to_tensor([render(scene, i, SIZES[0]) for i, scene in enumerate(scenes)])
    latents = (vae.encode(pictures).latent_dist.mean - vae.config.shift_factor) * vae.config.scaling_factor
    rows, targets = patches(pictures), latents.permute(0, 2, 3, 1).flatten(1, 2)
    matrix: Tensor = torch.linalg.lstsq(rows[8:].flatten(0, 1), targets[8:].flatten(0, 1), driver="gelsd").solution
    error = (rows[:8] @ matrix - targets[:8]).abs().max().item()
    log.info("linear encoder: largest error on held-out scenes %.4f", error)
    return matrix


def encode(matrix: Tensor, image: Image.Image) -> Tensor:
    """Encode a picture to its model-space latent (16, height / 8, width / 8)."""
    latent = (patches(to_tensor([image])) @ matrix)[0]
    return latent.T.reshape(16, image.height // PATCH, image.width // PATCH)


def file_of(folder: Path, size: Size) -> Path:
    """Return the path of the latents of pictures of this size."""
    return folder / f"latents_{size[0]}x{size[1]}.npy"


def _draw(out: Path, size: Size, matrix: Tensor, scenes: dict[int, Scene]) -> None:
    """Draw and encode these scenes into their rows of the size's file."""
    torch.set_num_threads(1)
    latents = np.load(file_of(out, size), mmap_mode="r+")
    for i, scene in scenes.items():
        latents[i] = encode(matrix, render(scene, i, size)).numpy()
    latents.flush()


def build(vae_folder: Path, out: Path, counts: dict[int, int] = COUNTS) -> None:
    """Draw and encode all scenes; writes an array (count, 16, rows, columns) for each size of each shape."""
    out.mkdir(parents=True, exist_ok=True)
    matrix = linear_encoder(AutoencoderKL.from_pretrained(vae_folder).eval())
    scenes = training_scenes(max(counts.values()))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for sizes in SHAPES.values():
            for size, whole in zip(sizes, counts.values(), strict=True):
                count = whole if sizes is SIZES else max(HELD_OUT + 8, round(whole * OTHER_SHAPES))
                shape = (count, 16, size[1] // PATCH, size[0] // PATCH)
                np.lib.format.open_memmap(file_of(out, size), "w+", np.float16, shape).flush()
                numbered = list(enumerate(scenes[:count]))
                shares = [dict(numbered[start : start + CHUNK]) for start in range(0, count, CHUNK)]
                list(pool.map(functools.partial(_draw, out, size, matrix), shares))
                log.info("%d scenes at %dx%d", count, *size)


def load(folder: Path) -> dict[int, dict[str, Latents]]:
    """Return the latents, memory-mapped: width of a 7:9 picture -> ratio -> array."""
    return {
        width: {ratio: np.load(file_of(folder, sizes[stage]), mmap_mode="r") for ratio, sizes in SHAPES.items()}
        for stage, (width, _) in enumerate(SIZES)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, required=True, help="folder of the trained VAE")
    parser.add_argument("--out", type=Path, required=True, help="folder for the latents (8 GB)")
    parser.add_argument("--share", type=float, default=1.0, help="draw only this share of the scenes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    build(args.vae, args.out, {width: max(HELD_OUT + 8, round(count * args.share)) for width, count in COUNTS.items()})


if __name__ == "__main__":
    main()
