"""Makes the demo model's VAE: an encoder set to a PCA of patches, and a trained decoder.

    python -m tools.demo_model.vae --out WORK/vae --steps 10000

A small VAE trained from scratch loses colours. So the encoder of diffusers' AutoencoderKL is set instead of trained:
its three downsampling convolutions become three steps of a principal component analysis of 8x8 patches, and all layers
between them pass their input through. The decoder is initialised as a smooth enlargement of the patches' mean colours
and learns the rest from slightly noisy latents, like sampled ones.
"""

import argparse
import logging
import math
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tools.demo_model.latents import to_tensor
from tools.demo_model.render import SIZES, render
from tools.demo_model.scene import sample_scene

LATENT_CHANNELS = 16
FIRST, SECOND = 12, 30
"""Channels after the first and second downsampling: all values of a 2x2 patch, then the main components of 4x4."""
PIN = 20.0
"""A constant pair of this value dominates the latent, so that the last group norm is nearly a constant factor."""
WHITENING = 0.5
"""0 keeps the components' variances, 1 makes them all equal."""
SCENE_SEED = 4321
POOL = {176: 700, 336: 260, 672: 110}
HELD_OUT = 8
CROP = 12
"""Side of a training crop, in latent pixels."""
OFFSETS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(row, column) of the positions in a 2x2 patch."""

log = logging.getLogger(__name__)


def build_vae() -> AutoencoderKL:
    """Build a VAE of just under a million parameters; one norm group, as more would remove the global colour."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=864,
        force_upcast=False,
    )


# -------------------------------------------------------------------------------------------------------- the encoder


def _scale_residuals(module: nn.Module, factor: float) -> None:
    """Scale what residual blocks add to their input; with 0 they pass it through."""
    for block in module.modules():
        if hasattr(block, "conv2") and hasattr(block, "norm2"):
            residual: Any = block.conv2
            residual.weight.mul_(factor)
            residual.bias.mul_(factor)


def _zero(conv: Any) -> None:
    conv.weight.zero_()
    conv.bias.zero_()


def _identity(conv: Any) -> None:
    """Make a convolution of any kernel size copy the first channels."""
    _zero(conv)
    channels = range(min(conv.weight.shape[:2]))
    conv.weight[channels, channels, conv.weight.shape[2] // 2, conv.weight.shape[3] // 2] = 1


def halve(x: Tensor) -> Tensor:
    """Rearrange (count, channels, height, width) to (count, 4 * channels, height / 2, width / 2)."""
    return torch.cat([x[:, :, row::2, column::2] for row, column in OFFSETS], 1)


def principal(pictures: list[Tensor], components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the PCA of pictures' pixels: mean (channels,), directions (channels, components) and all variances."""
    rows = torch.cat([x.permute(1, 0, 2, 3).flatten(1)[:, :: max(1, x[:, 0].numel() // 200000)] for x in pictures], 1)
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    variances, directions = torch.linalg.eigh((centred @ centred.T / centred.shape[1]).double())
    return mean, directions.flip(1)[:, :components].float(), variances.flip(0).float()


def project(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    return torch.einsum("nchw,ck->nkhw", x - mean[None, :, None, None], directions)


@torch.no_grad()
def set_encoder(vae: Any, pictures: list[Tensor]) -> None:
    """Set the encoder to the PCA of these pictures (each (count, 3, height, width) in -1..1), and freeze it."""
    encoder = vae.encoder
    _scale_residuals(encoder, 0)
    _identity(encoder.conv_in)
    _identity(encoder.down_blocks[1].resnets[0].conv_shortcut)
    _identity(encoder.down_blocks[2].resnets[0].conv_shortcut)
    first, second, third = (encoder.down_blocks[i].downsamplers[0].conv for i in range(3))
    for conv in (first, second, third):
        _zero(conv)

    quarters = [halve(halve(x)) for x in pictures]
    mean, directions, _ = principal(quarters, SECOND)
    eighths = [halve(project(x, mean, directions)) for x in quarters]
    last_mean, last_directions, variances = principal(eighths, LATENT_CHANNELS)
    scale = variances[:LATENT_CHANNELS].clamp_min(1e-6) ** (-WHITENING / 2)
    scale /= (variances[:LATENT_CHANNELS] * scale**2).mean().sqrt()
    last = (last_directions * scale).T

    for place, (row, column) in enumerate(OFFSETS):
        first.weight[range(place * 3, place * 3 + 3), range(3), row, column] = 1
        second.weight[:SECOND, :FIRST, row, column] = directions[place * FIRST : (place + 1) * FIRST].T
        third.weight[:LATENT_CHANNELS, :SECOND, row, column] = last[:, place * SECOND : (place + 1) * SECOND]
    second.bias[:SECOND] = -(directions.T @ mean)
    third.bias[:LATENT_CHANNELS] = -(last @ last_mean)
    _pass_through_norm(encoder, third)
    vae.encoder.requires_grad_(False)

    latents = torch.cat([vae.encode(x).latent_dist.mean.permute(1, 0, 2, 3).flatten(1) for x in pictures], 1)
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))


def _pass_through_norm(encoder: Any, last: Any) -> None:
    """Pass the latent through the final norm and SiLU as a pair of x and -x, because silu(x) - silu(-x) = x."""
    pair = slice(LATENT_CHANNELS, 2 * LATENT_CHANNELS)
    last.weight[pair] = -last.weight[:LATENT_CHANNELS]
    last.bias[pair] = -last.bias[:LATENT_CHANNELS]
    last.bias[2 * LATENT_CHANNELS], last.bias[2 * LATENT_CHANNELS + 1] = PIN, -PIN
    channels = len(last.bias)
    encoder.conv_norm_out.weight.fill_(math.sqrt((2 * PIN**2 + 2 * LATENT_CHANNELS) / channels))
    encoder.conv_norm_out.bias.zero_()
    _zero(encoder.conv_out)
    for i in range(LATENT_CHANNELS):
        encoder.conv_out.weight[i, i, 1, 1] = 1
        encoder.conv_out.weight[i, LATENT_CHANNELS + i, 1, 1] = -1
    # The second half of the output is the log variance; the VAE is used without its noise.
    encoder.conv_out.bias[LATENT_CHANNELS:] = -7.0


# -------------------------------------------------------------------------------------------------------- the decoder


@torch.no_grad()
def start_decoder(vae: Any, pictures: list[Tensor]) -> None:
    """Initialise the decoder as a smooth enlargement of each patch's mean colour.

    Channels 0-2 carry the colour, 3-5 its negative, 6-7 a constant pair for the norm; the rest start random.
    """
    decoder = vae.decoder
    _scale_residuals(decoder, 0.1)
    latents = torch.cat(
        [vae.encode(x).latent_dist.mean.permute(0, 2, 3, 1).reshape(-1, LATENT_CHANNELS) for x in pictures]
    )
    colours = torch.cat([F.avg_pool2d(x, 8).permute(0, 2, 3, 1).reshape(-1, 3) for x in pictures])
    fit = torch.linalg.lstsq(torch.cat([latents, torch.ones(len(latents), 1)], 1), colours).solution
    entry = decoder.conv_in
    entry.weight.mul_(0.3)
    entry.weight[:24] = 0
    entry.bias.zero_()
    for sign, channels in ((1, slice(0, 3)), (-1, slice(3, 6))):
        entry.weight[channels, :, 1, 1] = sign * fit[:LATENT_CHANNELS].T
        entry.bias[channels] = sign * fit[LATENT_CHANNELS]
    entry.bias[6], entry.bias[7] = 3.0, -3.0
    for i in range(LATENT_CHANNELS):
        entry.weight[8 + i, i, 1, 1] = 1
    for block in decoder.up_blocks:
        _start_up_block(block)
    decoder.conv_norm_out.bias.zero_()
    decoder.conv_norm_out.weight.fill_(math.sqrt((18 + 6 * 0.4) / 16))
    decoder.conv_out.weight.mul_(0.02)
    decoder.conv_out.bias.zero_()
    for i in range(3):
        decoder.conv_out.weight[i, i, 1, 1] = 1
        decoder.conv_out.weight[i, 3 + i, 1, 1] = -1


def _start_up_block(block: Any) -> None:
    for resnet in block.resnets:
        shortcut = resnet.conv_shortcut
        if shortcut is not None:
            shortcut.weight.mul_(0.2)
            shortcut.bias.zero_()
            shortcut.weight[:, :, 0, 0] += torch.eye(*shortcut.weight.shape[:2])
            shortcut.weight[:8] = 0
            shortcut.weight[range(8), range(8), 0, 0] = 1
    if block.upsamplers:
        conv = block.upsamplers[0].conv
        conv.weight.mul_(0.3)
        conv.bias.zero_()
        conv.weight[:8] = 0
        tent = torch.tensor([0.25, 0.5, 0.25])
        conv.weight[range(6), range(6)] = tent[:, None] * tent
        conv.weight[(6, 7), (6, 7), 1, 1] = 1
        others = range(8, len(conv.weight))
        conv.weight[others, others, 1, 1] += 0.7


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def picture_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Return the sum of absolute error, squared error and edge error, which keeps edges sharp."""
    edge_error = sum((a - b).abs().mean() for a, b in zip(edges(decoded), edges(pictures), strict=True))
    return (decoded - pictures).abs().mean() + 2 * F.mse_loss(decoded, pictures) + 0.5 * edge_error


def psnr(decoded: Tensor, pictures: Tensor) -> float:
    """Return the peak signal-to-noise ratio in decibels of pictures in -1..1."""
    return 10 * math.log10(4 / F.mse_loss(decoded.clamp(-1, 1), pictures).item())


class DecoderTrainer:
    """Trains the decoder on drawn scenes; a checkpoint holds its whole state."""

    def __init__(self, vae: Any, pool: list[Tensor], steps: int, out: Path) -> None:
        self.vae, self.pool, self.steps, self.out = vae, pool, steps, out
        with torch.no_grad():
            self.latents = [torch.cat([vae.encode(x[None]).latent_dist.mean for x in pictures]) for pictures in pool]
        self.rng = random.Random(0)
        self.optimiser = torch.optim.AdamW(vae.decoder.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
        self.step = 0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return pictures and latents: mostly crops of all sizes, 30 % whole pictures for the norm's statistics."""
        if self.rng.random() < 0.3:
            size, count = (0, 2) if self.rng.random() < 0.7 else (1, 1)
            chosen = [self.rng.randrange(HELD_OUT, len(self.pool[size])) for _ in range(count)]
            return self.pool[size][chosen], self.latents[size][chosen]
        crops = [self._crop() for _ in range(6)]
        return torch.stack([picture for picture, _ in crops]), torch.stack([latent for _, latent in crops])

    def _crop(self) -> tuple[Tensor, Tensor]:
        size = self.rng.choices(range(len(self.pool)), weights=(25, 30, 45))[0]
        i = self.rng.randrange(HELD_OUT, len(self.pool[size]))
        latent, picture = self.latents[size][i], self.pool[size][i]
        y, x = (self.rng.randrange(side - CROP + 1) for side in latent.shape[1:])
        rows, columns = slice(8 * y, 8 * (y + CROP)), slice(8 * x, 8 * (x + CROP))
        return picture[:, rows, columns], latent[:, y : y + CROP, x : x + CROP]

    def train_step(self) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.steps)) + 0.005
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (self.step + 1) / 50) * cosine
        pictures, latents = self.batch()
        noisy = latents + 0.16 * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.vae.decoder(noisy)
        loss = picture_loss(decoded.float(), pictures)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.vae.decoder.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def quality(self) -> list[float]:
        """Return the PSNR in decibels on held-out scenes, by size."""
        pairs = [(z[:HELD_OUT], x[:HELD_OUT]) for z, x in zip(self.latents, self.pool, strict=True)]
        return [psnr(torch.cat([self.vae.decode(z[None]).sample for z in zs]), xs) for zs, xs in pairs]

    def save(self) -> None:
        state = {
            "decoder": self.vae.decoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "rng": self.rng.getstate(),
            "torch_rng": torch.get_rng_state(),
        }
        self.vae.save_pretrained(self.out)
        part = self.out / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.out / "checkpoint.pt")

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=False)
        self.vae.decoder.load_state_dict(state["decoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.rng.setstate(state["rng"])
        torch.set_rng_state(state["torch_rng"])

    def run(self) -> None:
        while self.step < self.steps:
            loss = self.train_step()
            if self.step % 500 == 0:
                self.save()
                sizes = " / ".join(f"{decibels:.1f}" for decibels in self.quality())
                log.info("step %d  loss %.4f  PSNR %s dB", self.step, loss, sizes)
        self.save()


def draw_pool() -> list[Tensor]:
    """Draw scenes for the VAE, different from the transformer's; one (count, 3, height, width) per size."""
    rng = random.Random(SCENE_SEED)
    return [to_tensor([render(sample_scene(rng), 50000 + i, size) for i in range(POOL[size[0]])]) for size in SIZES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the VAE; an unfinished one is resumed")
    parser.add_argument("--steps", type=int, default=10000, help="decoder steps (about 0.13 s each)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pool = draw_pool()
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        vae = AutoencoderKL.from_pretrained(args.out)
    else:
        vae = build_vae()
        sample = [pictures[:count] for pictures, count in zip(pool, (100, 40, 8), strict=True)]
        set_encoder(vae, sample)
        start_decoder(vae, sample)
    trainer = DecoderTrainer(vae, pool, args.steps, args.out)
    if checkpoint.exists():
        trainer.load(checkpoint)
    trainer.run()


if __name__ == "__main__":
    main()
