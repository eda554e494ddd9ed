"""Redraws part of a picture: a noise mask around the guided model, as ComfyUI has it. Knows no samplers and no files.

Around every model call, with the mask m (1 = redrawn), the kept latent z and the noise e that the run starts with:

    x' = m x + (1 - m) (sigma e + (1 - sigma) z)        what the model sees
    D  = m D(x', sigma) + (1 - m) z                     what the sampler sees

so that the sampler itself ends at z where m is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zimage_app.domain.events import Picture
from zimage_app.domain.plan import StagePlan
from zimage_app.domain.schedules import percent_to_sigma
from zimage_app.domain.start_image import Mask, StartImage
from zimage_app.engine.samplers import Denoiser
from zimage_app.engine.start import noised

_LAST_PERCENT = 0.999
"""Of the sampling, where the model's own lowest noise level is."""
_NARROWEST = 1e-6
"""Span of noise levels; a stage that barely redraws anything may have less, or none."""


def latent_mask(mask: Mask, size: tuple[int, int]) -> Tensor:
    """A mask at a latent's ``size`` (height, width): (1, 1, h, w), bilinear without antialiasing, as ComfyUI has it."""
    return F.interpolate(torch.from_numpy(mask)[None, None], size=size, mode="bilinear", align_corners=False)


def differential_mask(mask: Tensor, stage: StagePlan, strength: float, sigma: float) -> Tensor:
    """The mask at one noise level: a cell joins when the level has fallen to its value (DifferentialDiffusion).

    Levin and Fried 2023 (arXiv 2306.00950); ``strength`` below 1 mixes it with the plain mask.
    """
    high = stage.sigmas[0]
    low = max(percent_to_sigma(stage.settings.shift, _LAST_PERCENT), stage.sigmas[-1])
    joined = (mask >= (sigma - low) / max(high - low, _NARROWEST)).float()
    return joined if strength in (0.0, 1.0) else strength * joined + (1.0 - strength) * mask


@dataclass(frozen=True, slots=True)
class Kept:
    """What a stage keeps; tensors on the model's device."""

    stage: StagePlan
    mask: Tensor
    """(1, 1, h, w)."""
    latent: Tensor
    """(1, 16, h, w), model space."""
    noise: Tensor
    differential: float | None

    def around(self, denoise: Denoiser) -> Denoiser:
        """The denoiser with the noise mask around it."""

        def masked(x: Tensor, sigma: float) -> Tensor:
            mask = self._mask_at(sigma)
            seen = mask * x + (1.0 - mask) * noised(self.latent, self.noise, sigma)
            return mask * denoise(seen, sigma) + (1.0 - mask) * self.latent

        return masked

    def _mask_at(self, sigma: float) -> Tensor:
        if self.differential is None:
            return self.mask
        return differential_mask(self.mask, self.stage, self.differential, sigma)


def pasted(made: Picture, start: StartImage) -> Picture:
    """What was made, with the kept part of the start picture in it: bit for bit where the mask is 0."""
    if start.mask is None or start.picture is None:
        return made
    share = start.mask[..., None]
    mixed = share * made + (1.0 - share) * start.picture
    return np.ascontiguousarray(mixed.round().astype(np.uint8))
