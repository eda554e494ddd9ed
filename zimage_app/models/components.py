"""The parts of a loaded model, as the engine calls them. Knows no stages, samplers or files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zimage_app.domain.card import ModelCard
from zimage_app.domain.text import Text


class TextEncoder(Protocol):
    """Prompt in, text features out."""

    def encode(self, prompt: str) -> Tensor:
        """Features (tokens, channels) of a prompt in the chat template, nothing padded, nothing cut off.

        Raises RequestError when the prompt has more tokens than the model takes.
        """
        ...


class Evaluation(Protocol):
    """The transformer, made ready for one stage: fixed latent size, fixed prompts."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Velocity v (rows, 16, height, width) in the model's dtype, such that denoised = x - sigma v.

        x has the same shape and dtype; row i is evaluated with prompt i.
        """
        ...


class PreparedPrompt(Protocol):
    """A prompt as the transformer keeps it, worked out once and used in every stage while the weights stay."""

    @property
    def tokens(self) -> int:
        """Tokens before padding."""
        ...


Combine = Callable[[Tensor, Tensor], Tensor]
"""Two results of attention (rows, tokens, width), all heads side by side, in; one out."""


@dataclass(frozen=True, slots=True)
class AttentionGuidance:
    """Holds the attention of a picture to its caption against its attention to another caption."""

    prompt: PreparedPrompt
    """The other caption."""
    combine: Combine
    """(to its own caption, to the other one) -> what is taken."""
    captions: bool
    """Whether the caption's own tokens are guided, too, each by that in its place in the other caption."""


class Transformer(Protocol):
    """The velocity model."""

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prompt(self, features: Tensor, value_scale: Tensor | None = None) -> PreparedPrompt:
        """Once per prompt: text features (tokens, channels) -> refined caption tokens.

        ``value_scale`` (tokens,) are factors of what is read from the tokens; left out, all are 1.
        """
        ...

    def evaluation(
        self,
        size: tuple[int, int],
        prompts: Sequence[PreparedPrompt],
        sigmas: Sequence[float],
        guidance: AttentionGuidance | None = None,
    ) -> Evaluation:
        """Prepare a stage's evaluations, once per stage.

        ``size`` is the latent's (height, width), both even; ``sigmas`` are the noise levels that will be asked for, so
        that their modulations are worked out together (others still work, one by one). ``guidance`` changes the first
        row alone.
        """
        ...


class Codec(Protocol):
    """Latents to pictures."""

    def decode(self, latent: Tensor) -> Tensor:
        """Latent in VAE space (1, 16, h, w) -> picture (8h, 8w, 3), float32 on the CPU, 0…1."""
        ...


@runtime_checkable
class TiledCodec(Protocol):
    """A codec that can do with less memory."""

    def decode_tiled(self, latent: Tensor) -> Tensor:
        """As ``Codec.decode``, tile by tile; colours may differ a little."""
        ...


@runtime_checkable
class Offloadable(Protocol):
    """A network that can do with less of its device's memory."""

    def offload(self) -> bool:
        """Keep weights in the computer's memory, from where they are streamed: slower, the same results.

        Says whether that saves anything that was not saved before.
        """
        ...


@runtime_checkable
class PictureEncoder(Protocol):
    """A codec that goes the other way, too."""

    def encode(self, picture: Tensor) -> Tensor:
        """Picture (8h, 8w, 3), float32, 0…1 -> latent in VAE space (1, 16, h, w), float32 on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class LatentFormat:
    """How VAE space and model space are related: model = (vae - shift) * scale."""

    scale: float = 0.3611
    shift: float = 0.1159


@dataclass(frozen=True, slots=True)
class PreviewFactors:
    """A linear guess at the picture: rgb = denoised (model space) @ factors + bias, in -1…1."""

    factors: tuple[tuple[float, float, float], ...]
    """One row per latent channel."""
    bias: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Components:
    """A model, loaded and ready."""

    card: ModelCard
    text: TextEncoder
    transformer: Transformer
    codec: Codec
    latent: LatentFormat
    preview: PreviewFactors
    notes: tuple[Text, ...] = ()
    """What the user should know of how the weights are held: packed, or unpacked and so larger than their files."""
