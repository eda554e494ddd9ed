"""The first latent of a stage: noise, or the latent of the stage before or of a picture, brought to size and noised."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Picture
from zimage_app.domain.request import UpscaleMethod
from zimage_app.domain.text import Text
from zimage_app.models.components import Components, LatentFormat, PictureEncoder

_PARALLEL = 1e-5


def encoded(picture: Picture, components: Components) -> Tensor:
    """The latent of a picture, in VAE space, float32, on the CPU.

    Raises:
        GenerationError: the model's autoencoder can't encode, or gives values that are not finite.
    """
    codec = components.codec
    if not isinstance(codec, PictureEncoder):
        raise GenerationError(
            Text(
                "This model's VAE has no encoder, so it can't start from a picture; remove the start picture.",
                "此模型的 VAE 没有编码器，无法从图片开始；请移除起始图片。",
            )
        )
    latent = codec.encode(torch.from_numpy(np.array(picture)).float() / 255.0)
    if not bool(torch.isfinite(latent).all()):
        raise GenerationError(
            Text(
                "The VAE gave values that are not finite for the start picture; use another picture or dtype.",
                "VAE 编码起始图片时出现非有限数值；请换一张图片或更换 dtype。",
            )
        )
    return latent


def to_model_space(latent: Tensor, form: LatentFormat) -> Tensor:
    """VAE space -> model space. An empty (all-zero) latent stays empty: ComfyUI does not shift it."""
    return (latent - form.shift) * form.scale if bool(torch.any(latent != 0)) else latent


def to_vae_space(latent: Tensor, form: LatentFormat) -> Tensor:
    """Model space -> VAE space."""
    return latent / form.scale + form.shift


def noised(latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Where a flow model's sampling starts: ``sigma noise + (1 - sigma) latent``, model space, float32."""
    level = torch.tensor(sigma, dtype=torch.float32)
    return level * noise + (1.0 - level) * latent


def resize(latent: Tensor, size: tuple[int, int], method: UpscaleMethod) -> Tensor:
    """A latent (1, 16, h, w) in VAE space at another ``size`` (height, width)."""
    if tuple(latent.shape[-2:]) == size:
        return latent
    if method == "bislerp":
        return bislerp(latent, size)
    if method in ("bilinear", "bicubic"):
        return F.interpolate(latent, size=size, mode=method, align_corners=False)
    return F.interpolate(latent, size=size, mode=method)


def bislerp(latent: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing whose neighbours are mixed on the sphere: directions by slerp, lengths linearly.

    A plain mixture of two unlike latent vectors is shorter than either and decodes greyer; this one is not.
    """
    height, width = size
    wide = _slerp_last_axis(latent, width)
    return _slerp_last_axis(wide.transpose(-1, -2), height).transpose(-1, -2).contiguous()


def _slerp_last_axis(latent: Tensor, length: int) -> Tensor:
    old = latent.shape[-1]
    # Pixel centres, as in bilinear interpolation without aligned corners; the edges are held.
    position = ((torch.arange(length, device=latent.device) + 0.5) * (old / length) - 0.5).clamp(0, old - 1)
    left = position.floor().long()
    right = (left + 1).clamp(max=old - 1)
    ratio = (position - left).to(latent.dtype)
    return _slerp(latent[..., left], latent[..., right], ratio)


def _slerp(a: Tensor, b: Tensor, ratio: Tensor) -> Tensor:
    """Vectors along axis 1; ratio broadcasts over the last axis."""
    length_a = a.norm(dim=1, keepdim=True)
    length_b = b.norm(dim=1, keepdim=True)
    unit_a = a / length_a.clamp_min(1e-12)
    unit_b = b / length_b.clamp_min(1e-12)
    cosine = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    sine = torch.sin(angle).clamp_min(1e-12)
    mixed = (torch.sin((1.0 - ratio) * angle) * unit_a + torch.sin(ratio * angle) * unit_b) / sine
    turned = mixed * (length_a + ratio * (length_b - length_a))
    # Where the two point the same way or opposite ways the great circle is not defined: as in ComfyUI the first one
    # stays as it is, length and all, and opposites are mixed in a straight line.
    turned = torch.where(cosine < _PARALLEL - 1.0, a + ratio * (b - a), turned)
    return torch.where(cosine > 1.0 - _PARALLEL, a, turned)
