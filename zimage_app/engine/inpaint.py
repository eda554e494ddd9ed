"""Inpainting: wraps the guided model in a noise mask, as ComfyUI does. Independent of samplers and files.

Every model call is changed as follows, with mask m (1 = redraw), kept latent z and the run's initial noise e:

    x' = m x + (1 - m) (sigma e + (1 - sigma) z)        the model's input
    D  = m D(x', sigma) + (1 - m) z                     the denoised latent that the sampler gets

so that sampling ends at z where m is 0.
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
"""Share of the sampling (0…1) whose sigma is taken as the model's lowest noise level."""
_MIN_SPAN = 1e-6
"""Lower bound of the sigma span that is divided by; a stage with little denoise may have a smaller or empty span."""


def latent_mask(mask: Mask, size: tuple[int, int]) -> Tensor:
    """Return the mask at a latent's ``size`` (height, width): (1, 1, h, w), bilinear, no antialiasing, as ComfyUI."""
    return F.interpolate(torch.from_numpy(mask)[None, None], size=size, mode="bilinear", align_corners=False)


def differential_mask(mask: Tensor, stage: StagePlan, strength: float, sigma: float) -> Tensor:
    """Return the mask at ``sigma``: 1 for cells whose mask value is at least sigma's place in the stage's range.

    DifferentialDiffusion (Levin and Fried 2023, arXiv 2306.00950); ``strength`` below 1 blends it with the plain mask.
    """
    high = stage.sigmas[0]
    low = max(percent_to_sigma(stage.settings.shift, _LAST_PERCENT), stage.sigmas[-1])
    joined = (mask >= (sigma - low) / max(high - low, _MIN_SPAN)).float()
    return joined if strength in (0.0, 1.0) else strength * joined + (1.0 - strength) * mask


@dataclass(frozen=True, slots=True)
class KeptRegion:
    """The part of the picture that a stage keeps; tensors on the model's device."""

    stage: StagePlan
    mask: Tensor
    """(1, 1, h, w)."""
    latent: Tensor
    """(1, 16, h, w), model space."""
    noise: Tensor
    differential: float | None

    def around(self, denoise: Denoiser) -> Denoiser:
        """Return ``denoise`` wrapped in the noise mask."""

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
    """Return the generated picture with the start picture pasted back, unchanged bit for bit where the mask is 0."""
    if start.mask is None or start.picture is None:
        return made
    share = start.mask[..., None]
    mixed = share * made + (1.0 - share) * start.picture
    return np.ascontiguousarray(mixed.round().astype(np.uint8))
