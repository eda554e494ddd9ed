"""``resize``: resizes the previous stage's finished latent and adds noise to it again, as ComfyUI's nodes do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.settings.stage import UpscaleMethod
from zimage_app.engine.start import noised, to_model_space
from zimage_app.models.components import LatentFormat

_PARALLEL = 1e-5


def take_over(latent: Tensor, noise: Tensor, stage: StagePlan, form: LatentFormat) -> Tensor:
    """Resize and add noise; see ``Handover`` for arguments and result."""
    return noised(resized(latent, stage, form), noise, stage.sigmas[0])


def resized(latent: Tensor, stage: StagePlan, form: LatentFormat) -> Tensor:
    """Return a latent given in VAE space at the stage's size, in model space."""
    return to_model_space(resize(latent, stage.latent_size, stage.settings.upscale), form)


def resize(latent: Tensor, size: tuple[int, int], method: UpscaleMethod) -> Tensor:
    """Return the latent (1, 16, h, w), VAE space, resized to ``size`` (height, width) in latent cells."""
    if tuple(latent.shape[-2:]) == size:
        return latent
    if method == "bislerp":
        return bislerp(latent, size)
    if method in ("bilinear", "bicubic"):
        return F.interpolate(latent, size=size, mode=method, align_corners=False)
    return F.interpolate(latent, size=size, mode=method)


def bislerp(latent: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing that interpolates latent vectors on the sphere: directions by slerp, norms linearly.

    Linear interpolation of two unlike latent vectors has a smaller norm than either, which decodes to greyer colours;
    slerp keeps the norm.
    """
    height, width = size
    wide = _slerp_last_axis(latent, width)
    return _slerp_last_axis(wide.transpose(-1, -2), height).transpose(-1, -2).contiguous()


def _slerp_last_axis(latent: Tensor, length: int) -> Tensor:
    old = latent.shape[-1]
    # Pixel centres, as in bilinear interpolation with align_corners=False; positions are clamped to the edges.
    position = ((torch.arange(length, device=latent.device) + 0.5) * (old / length) - 0.5).clamp(0, old - 1)
    left = position.floor().long()
    right = (left + 1).clamp(max=old - 1)
    ratio = (position - left).to(latent.dtype)
    return _slerp(latent[..., left], latent[..., right], ratio)


def _slerp(a: Tensor, b: Tensor, ratio: Tensor) -> Tensor:
    """Interpolate the vectors along axis 1; ``ratio`` broadcasts over the last axis."""
    length_a = a.norm(dim=1, keepdim=True)
    length_b = b.norm(dim=1, keepdim=True)
    unit_a = a / length_a.clamp_min(1e-12)
    unit_b = b / length_b.clamp_min(1e-12)
    cosine = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    sine = torch.sin(angle).clamp_min(1e-12)
    mixed = (torch.sin((1.0 - ratio) * angle) * unit_a + torch.sin(ratio * angle) * unit_b) / sine
    interpolated_noise = mixed * (length_a + ratio * (length_b - length_a))
    # The great circle is undefined for parallel and opposite vectors. As in ComfyUI, parallel ones give a unchanged
    # (its norm too), and opposite ones are interpolated linearly.
    interpolated_noise = torch.where(cosine < _PARALLEL - 1.0, a + ratio * (b - a), interpolated_noise)
    return torch.where(cosine > 1.0 - _PARALLEL, a, interpolated_noise)
