"""Limits how far CFG may go: what it made is shrunk to a multiple of the positive prediction's length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.request import CfgLimit
from zimage_app.engine.guidance.rule import Rule, StageTexts

ORIGINS: dict[str, Callable[[Tensor], Tensor]] = {"velocity": lambda x: x, "denoised": torch.zeros_like}
"""Where lengths are measured from, for the model's input x.

From x it is the velocity's, because x - denoised is sigma v: the official pipeline's cfg_normalization. From 0 it is
that of the picture: ComfyUI's RenormCFG. Both only shrink.
"""


class LimitRule(Rule):
    """The limit of one stage."""

    def __init__(self, settings: CfgLimit) -> None:
        self._settings = settings

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """None where the stage has none."""
        del texts
        return None if stage.settings.cfg_limit is None else cls(stage.settings.cfg_limit)

    def limited(self, guided: Tensor, positive: Tensor, x: Tensor) -> Tensor:
        """The guided prediction with its length limited to a multiple of the positive one's; all (16, h, w)."""
        origin = ORIGINS[self._settings.of](x)
        length, most = (torch.linalg.vector_norm(item - origin) for item in (guided, positive))
        return origin + (guided - origin) * torch.clamp(self._settings.most * most / length, max=1.0)
