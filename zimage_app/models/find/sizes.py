"""Computes the device memory that a model needs, and chooses a copy of Z-Image-Turbo for a card. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_WORKING = 15 * 10**8
"""Bytes that a run needs beside the weights: activations and decoding of a 672 x 864 picture take 1.3 GB."""
_UNPACKING = 5 * 10**8
"""Bytes for one unpacked matrix."""
_CONTEXT = 5 * 10**8
"""Bytes of device memory that drivers and desktop usually take."""
BFLOAT16_CAPABILITY = (8, 0)
"""The same as in ``models.device``, which imports torch."""


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Bytes that a model's weights take on a device."""

    blocks: tuple[int, ...]
    """Bytes of each of the transformer's main blocks."""
    rest: int
    """Other bytes of transformer and VAE."""
    text: int
    unpacks: bool
    """Whether weights are unpacked at each use, which takes additional memory."""

    @property
    def resident(self) -> int:
        """Bytes if transformer and VAE are on the device, with the working memory of a run."""
        return sum(self.blocks) + self.rest + self.working

    @property
    def working(self) -> int:
        """Bytes of a run beside the weights."""
        return _WORKING + (_UNPACKING if self.unpacks else 0)


_LINEARS = 176_947_200
"""Parameters of one block's linear layers, which are the packed ones."""
_BLOCKS = 30
_REFINERS = 4
_OTHERS = 138_703_936
"""Parameters of the transformer that are never packed."""
_VAE = 167_639_302
_BFLOAT16 = 2

PUBLISHED: Mapping[str, tuple[float, int]] = {
    "z-image-turbo-bf16": (16.0, 7_840_000_000),
    "z-image-turbo-int8": (8.0, 4_300_000_000),
    "z-image-turbo-q4": (4.85, 4_300_000_000),
}
"""Downloadable copies of Z-Image-Turbo, most precise first: bits per parameter of the transformer's linear layers, and
bytes of the text encoder, computed from the published networks' shapes."""


def published_sizes(name: str) -> ModelSizes:
    """Return the sizes of a model of ``PUBLISHED``; needs no files."""
    bits, text = PUBLISHED[name]
    block = round(_LINEARS * bits / 8)
    return ModelSizes((block,) * _BLOCKS, _REFINERS * block + _OTHERS * _BFLOAT16 + _VAE, text, unpacks=bits < 8)


def suggested(memory: int, capability: tuple[int, int] | None = None) -> str:
    """Return the most precise copy of Z-Image-Turbo whose transformer fits on a card with ``memory`` bytes.

    ``capability`` is the CUDA compute capability; older cards multiply 8-bit integers fast, and bfloat16 slowly.
    """
    is_older = capability is not None and capability < BFLOAT16_CAPABILITY
    names = [name for name in PUBLISHED if not (is_older and "bf16" in name)]
    free = free_of(memory)
    return next((name for name in names if published_sizes(name).resident <= free), names[-1])


def free_of(memory: int) -> int:
    """Return the bytes that are usually free on a card with ``memory`` bytes."""
    return memory - _CONTEXT
