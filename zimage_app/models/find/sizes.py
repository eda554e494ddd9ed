"""How much memory a model needs on a device, and which copy of Z-Image-Turbo suits a card. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_WORKING = 15 * 10**8
"""Bytes that a run needs beside the weights: activations and decoding of a 672 x 864 picture take 1.3 GB."""
_UNPACKING = 5 * 10**8
"""Bytes for a matrix that is unpacked while it is used."""
_CONTEXT = 5 * 10**8
"""Bytes of a card that drivers and the desktop have, as a rule."""
BFLOAT16_CAPABILITY = (8, 0)
"""As in ``models.device``, which imports torch."""


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Bytes that a model's weights take on a device."""

    blocks: tuple[int, ...]
    """Each of the transformer's main blocks."""
    rest: int
    """Of transformer and VAE."""
    text: int
    unpacks: bool
    """Weights are unpacked while they are used, which takes memory, too."""

    @property
    def resident(self) -> int:
        """All of transformer and VAE, and what a run needs."""
        return sum(self.blocks) + self.rest + self.working

    @property
    def working(self) -> int:
        """What a run needs beside the weights."""
        return _WORKING + (_UNPACKING if self.unpacks else 0)


_LINEARS = 176_947_200
"""Numbers in the large matrices of one block of Z-Image: they are what is packed."""
_BLOCKS = 30
_REFINERS = 4
_OTHERS = 138_703_936
"""Numbers of its transformer that are never packed."""
_VAE = 167_639_302
_BFLOAT16 = 2

PUBLISHED: Mapping[str, tuple[float, int]] = {
    "z-image-turbo-bf16": (16.0, 7_840_000_000),
    "z-image-turbo-int8": (8.0, 4_300_000_000),
    "z-image-turbo-q4": (4.85, 4_300_000_000),
}
"""Copies of Z-Image-Turbo that can be fetched, nearest to the original first: bits of a number in the transformer's
large matrices, and bytes of the text encoder. Worked out from the published networks' shapes."""


def published_sizes(name: str) -> ModelSizes:
    """How large a model of ``PUBLISHED`` is on a card, without its files."""
    bits, text = PUBLISHED[name]
    block = round(_LINEARS * bits / 8)
    return ModelSizes((block,) * _BLOCKS, _REFINERS * block + _OTHERS * _BFLOAT16 + _VAE, text, unpacks=bits < 8)


def suggested(memory: int, capability: tuple[int, int] | None = None) -> str:
    """The copy of Z-Image-Turbo for a card of so many bytes: the nearest to the original whose transformer fits.

    ``capability`` is the CUDA compute capability; older cards multiply 8-bit integers fast, and bfloat16 slowly.
    """
    is_older = capability is not None and capability < BFLOAT16_CAPABILITY
    names = [name for name in PUBLISHED if not (is_older and "bf16" in name)]
    free = free_of(memory)
    return next((name for name in names if published_sizes(name).resident <= free), names[-1])


def free_of(memory: int) -> int:
    """What is free, as a rule, of a card of so many bytes."""
    return memory - _CONTEXT
