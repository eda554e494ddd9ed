"""How models fit into the memory of a graphics card. Opens headers only; imports torch."""

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
"""For an RTX 40. Older cards unpack some formats while they are used, and need half a gigabyte more."""


@dataclass(frozen=True, slots=True)
class Fit:
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


def fits(config: StudioConfig, memory: int) -> Iterator[Fit]:
    """Every model that is here or whose size is known, on a card of so many bytes, in the list's order."""
    for source in list_models(config.model_folders):
        sizes = _sizes(source)
        if sizes is not None:
            plan = fitted(_PLAN, sizes, free_of(memory), source.card)
            yield Fit(source.card.name, needed(plan, sizes), plan.reason)


def _sizes(source: ModelSource) -> ModelSizes | None:
    if source.present:
        try:
            return sizes_of(model_files(source), _PLAN)
        except ModelError:  # the list of models says what is wrong with it
            return None
    return published_sizes(source.card.name) if source.card.name in PUBLISHED else None
