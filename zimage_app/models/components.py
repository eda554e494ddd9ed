"""The interfaces of a loaded model's parts, as the engine uses them. Independent of stages, samplers and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from zimage_app.domain.card import ModelCard
from zimage_app.domain.text import Text


class TextEncoder(Protocol):
    """Converts prompts to text features."""

    def encode(self, prompt: str) -> Tensor:
        """Return the features (tokens, channels) of a prompt in the chat template, without padding or truncation.

        Raises RequestError if the prompt has more tokens than the model takes.
        """
        ...

    def encode_ahead(self, prompts: Iterable[str]) -> None:
        """Encode prompts that will be used soon, and keep their features for ``encode``.

        Saves time if weights are streamed to the device: they are copied once for all these prompts. Does nothing
        otherwise. Leaves out prompts with too many tokens, and those beyond a limit.
        """
        ...

    def offload(self) -> bool:
        """Keep all weights in the computer's memory and stream them from there: slower, the same results.

        Returns whether this frees memory of the device.
        """
        ...


class Evaluation(Protocol):
    """The transformer prepared for one stage, with a fixed latent size and fixed prompts."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return the velocity v (rows, 16, height, width) in the model's dtype, such that denoised = x - sigma v.

        ``x`` has the same shape and dtype; row i is evaluated with prompt i.
        """
        ...


class PreparedPrompt(Protocol):
    """A prompt prepared by the transformer; computed once and reused in every stage until the weights change."""

    @property
    def tokens(self) -> int:
        """Number of tokens before padding."""
        ...


Combine = Callable[[Tensor, Tensor], Tensor]
"""(attention to the own caption, attention to the other caption) -> combined attention; all (rows, tokens, width)."""


@dataclass(frozen=True, slots=True)
class AttentionGuidance:
    """Guides a picture's attention to its own caption by its attention to another caption."""

    prompt: PreparedPrompt
    """The other caption."""
    combine: Combine
    captions: bool
    """Whether the caption's own tokens are guided too, by the tokens at the same positions of the other caption."""


class Transformer(Protocol):
    """The velocity model."""

    module: nn.Module
    """The module that holds the weights. LoRAs write to them in place."""
    origin: Callable[[str], Tensor]
    """Weight's name -> the weight as it was loaded, reread from the model's files."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of computation."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        ...

    def weights_changed(self) -> None:
        """Drop values derived from the weights; called after weights were written."""
        ...

    def offload(self) -> bool:
        """Stream more of the blocks from the computer's memory; returns whether there was another to stream."""
        ...

    def prompt(self, features: Tensor, value_scale: Tensor | None = None) -> PreparedPrompt:
        """Convert text features (tokens, channels) to refined caption tokens; called once per prompt.

        ``value_scale`` (tokens,) are factors of the tokens' attention values; None means ones.
        """
        ...

    def evaluation(
        self,
        size: tuple[int, int],
        prompts: Sequence[PreparedPrompt],
        sigmas: Sequence[float],
        guidance: AttentionGuidance | None = None,
    ) -> Evaluation:
        """Prepare a stage's evaluations; called once per stage.

        ``size`` is the latent's (height, width), both even. ``sigmas`` are the expected noise levels, whose modulations
        are computed together; other levels are computed one by one. ``guidance`` applies to the first row only.
        """
        ...


class Codec(Protocol):
    """Converts latents to pictures and back."""

    def decode(self, latent: Tensor) -> Tensor:
        """Decode a latent in VAE space (1, 16, h, w) to a picture (8h, 8w, 3), float32 on the CPU, 0…1."""
        ...

    def decode_tiled(self, latent: Tensor) -> Tensor:
        """Decode tile by tile, which takes less memory; colours may differ slightly from ``decode``."""
        ...

    def encode(self, picture: Tensor) -> Tensor:
        """Encode a picture (8h, 8w, 3), float32, 0…1, to a latent in VAE space (1, 16, h, w), float32 on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class LatentFormat:
    """The conversion between VAE space and model space: model = (vae - shift) * scale."""

    scale: float = 0.3611
    shift: float = 0.1159


@dataclass(frozen=True, slots=True)
class PreviewFactors:
    """A linear approximation of the decoder: rgb = denoised (model space) @ factors + bias, in -1…1."""

    factors: tuple[tuple[float, float, float], ...]
    """One row per latent channel."""
    bias: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Components:
    """A loaded model."""

    card: ModelCard
    text: TextEncoder
    transformer: Transformer
    codec: Codec
    latent: LatentFormat
    preview: PreviewFactors
    notes: tuple[Text, ...] = ()
    """Messages for the user about packed weights: kept packed, or unpacked and so larger than their files."""
