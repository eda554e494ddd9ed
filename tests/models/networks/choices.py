"""Choices of kernels without a device to measure on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from zimage_app.models.networks.block import block
from zimage_app.models.networks.kernels import Candidate, KernelChoice


class InMemory:
    """What was chosen, in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, str]] = {}

    def get(self, key: str) -> Mapping[str, str]:
        """See ``ChoiceCache``."""
        return self.kept.get(key, {})

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """See ``ChoiceCache``."""
        self.kept[key] = names


def compiled_blocks() -> KernelChoice:
    """Whole blocks through torch.compile's tracing and checks, said to be as quick as needed."""
    torch.compiler.reset()  # what other tests compiled counts against the same limit of programs
    candidate = Candidate(
        "block", "compiled", lambda *_: True, lambda: torch.compile(block, backend="eager", fullgraph=True), gain=0.0
    )
    return KernelChoice(torch.device("cpu"), torch.float32, InMemory(), [candidate], lambda _: 1.0)
