"""Which models fit into a GPU's memory. Reads only the headers of weight files; imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import list_models
from zimage_app.models.find.model_files import model_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.find.sizes import PUBLISHED, ModelSizes, free_of, published_sizes
from zimage_app.models.load.memory_plan import fitted, needed, sizes_of
from zimage_app.models.weights.placement import MemoryPlan
from zimage_app.service.setup.config import StudioConfig

_PLAN = MemoryPlan(torch.device("cuda"), torch.bfloat16, Text("bfloat16 on the card", "在显卡上使用 bfloat16"), (8, 9))
"""For an RTX 40. Older GPUs convert some formats during use, and need half a gigabyte more."""


@dataclass(frozen=True, slots=True)
class GpuFit:
    """A model in a card's memory."""

    name: str
    bytes: int
    """That it takes there while a picture is made."""
    reason: Text
    """How it is held, and what that costs."""

    @property
    def text(self) -> Text:
        """All of it in one sentence."""
        size = f"{self.bytes / 1e9:.1f} GB"
        return Text(f"{size}: {self.reason.en}.", f"{size}：{self.reason.zh}。")


def fit_models(config: StudioConfig, memory: int) -> Iterator[GpuFit]:
    """How every model whose size is known fits into a GPU with this many bytes of memory, in the list's order."""
    for source in list_models(config.model_folders):
        sizes = _sizes(source)
        if sizes is not None:
            plan = fitted(_PLAN, sizes, free_of(memory), source.card)
            yield GpuFit(source.card.name, needed(plan, sizes), plan.reason)


def _sizes(source: ModelSource) -> ModelSizes | None:
    if source.present:
        try:
            return sizes_of(model_files(source), _PLAN)
        except ModelError:  # the list of models shows its problem
            return None
    return published_sizes(source.card.name) if source.card.name in PUBLISHED else None
