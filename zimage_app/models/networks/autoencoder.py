"""The autoencoder (VAE) as a torch module, with diffusers' parameter names.

Computes bit for bit what diffusers' ``AutoencoderKL`` computes, but uses in-place operations on its own intermediate
results, which saves memory and time; only ``Doubling.join`` changes the rounding. Shapes: latents (1, C, h, w),
pictures (1, 3, 8h, 8w).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6
LEVELS = 4
"""Number of resolution levels; the size is halved between two levels, so eightfold in total."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """The settings in a config.json, under the same names, with diffusers' defaults."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


class _Resnet(nn.Module):
    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, _EPS)
        self.conv1 = _conv(channels, out)
        self.norm2 = nn.GroupNorm(groups, out, _EPS)
        self.conv2 = _conv(out, out)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.conv1(F.silu(self.norm1(x), inplace=True))
        hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


class _Attention(nn.Module):
    """Self-attention with a single head over all latent cells."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, _EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        cells = self.group_norm(x.flatten(2)).transpose(1, 2)
        q, k, v = (layer(cells)[:, None] for layer in (self.to_q, self.to_k, self.to_v))
        attended: Tensor = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return attended.transpose(1, 2).reshape(x.shape) + x


class _Middle(nn.Module):
    def __init__(self, channels: int, config: AutoencoderConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        wanted = [_Attention(channels, groups)] if config.mid_block_add_attention else []
        self.attentions = nn.ModuleList(wanted)
        self.resnets = nn.ModuleList(_Resnet(channels, channels, groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        made: Tensor = self.resnets[1](x)
        return made


class _Halving(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return made


class Doubling(nn.Module):
    """Enlarges twofold, each pixel to four equal ones, and convolves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)
        self._joined: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, h, w) -> (1, C, 2h, 2w)."""
        if self._joined is not None:
            return F.conv_transpose2d(x, self._joined, self.conv.bias, stride=2, padding=1)
        made: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return made

    def join(self) -> None:
        """Compute both steps as one transposed convolution from now on, equal up to rounding.

        Each element of its kernel (in, out, 4, 4) is the sum of those elements of the convolution's kernel (out, in, 3,
        3) that meet the same pixel: 4 products for a pixel of the result instead of 9, twice as fast on a CPU.
        """
        kernel = self.conv.weight.detach()
        sums = F.conv2d(kernel.flatten(0, 1)[:, None], kernel.new_ones(1, 1, 2, 2), padding=1)
        self._joined = sums.view(*kernel.shape[:2], 4, 4).flip(2, 3).transpose(0, 1).contiguous()


class _Level(nn.Module):
    """Base of the levels of encoder and decoder: residual blocks, then a layer that changes the size, if any."""

    def __init__(self, widths: tuple[int, int], count: int, groups: int) -> None:
        super().__init__()
        first, width = widths
        self.resnets = nn.ModuleList(_Resnet(first if n == 0 else width, width, groups) for n in range(count))

    def _through(self, x: Tensor, after: nn.ModuleList) -> Tensor:
        for layer in (*self.resnets, *after):
            x = layer(x)
        return x


class _Down(_Level):
    def __init__(self, widths: tuple[int, int], config: AutoencoderConfig, *, last: bool) -> None:
        super().__init__(widths, config.layers_per_block, config.norm_num_groups)
        self.downsamplers = nn.ModuleList([] if last else [_Halving(widths[1])])

    def forward(self, x: Tensor) -> Tensor:
        return self._through(x, self.downsamplers)


class _Up(_Level):
    def __init__(self, widths: tuple[int, int], config: AutoencoderConfig, *, last: bool) -> None:
        super().__init__(widths, config.layers_per_block + 1, config.norm_num_groups)
        self.upsamplers = nn.ModuleList([] if last else [Doubling(widths[1])])

    def forward(self, x: Tensor) -> Tensor:
        return self._through(x, self.upsamplers)


class _Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = _conv(config.in_channels, widths[0])
        steps = zip((widths[0], *widths), widths, strict=False)
        self.down_blocks = nn.ModuleList(_Down(pair, config, last=n == LEVELS - 1) for n, pair in enumerate(steps))
        self.mid_block = _Middle(widths[-1], config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], _EPS)
        self.conv_out = _conv(widths[-1], 2 * config.latent_channels)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.conv_in(picture)
        for level in self.down_blocks:
            x = level(x)
        made: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x)), inplace=True))
        return made


class _Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = _conv(config.latent_channels, widths[0])
        self.mid_block = _Middle(widths[0], config)
        steps = zip((widths[0], *widths), widths, strict=False)
        self.up_blocks = nn.ModuleList(_Up(pair, config, last=n == LEVELS - 1) for n, pair in enumerate(steps))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], _EPS)
        self.conv_out = _conv(widths[-1], config.out_channels)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(latent))
        for level in self.up_blocks:
            x = level(x)
        made: Tensor = self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
        return made


class Autoencoder(nn.Module):
    """Encoder and decoder, and the 1 x 1 convolutions between them if the model has them."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        channels = config.latent_channels
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if config.use_post_quant_conv else None


def _conv(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1)
