"""CFG limit: scales the guided prediction down so that its norm is at most a multiple of the positive one's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.settings.guidance import CfgLimit
from zimage_app.engine.guidance.rule import Rule, StageTexts

ORIGINS: dict[str, Callable[[Tensor], Tensor]] = {"velocity": lambda x: x, "denoised": torch.zeros_like}
"""(the model's input x) -> the origin that norms are measured from.

With origin x the norm is the velocity's times sigma, because x - denoised = sigma v: the official pipeline's
cfg_normalization. With origin 0 it is the denoised latent's norm: ComfyUI's RenormCFG. Both only scale down.
"""


class LimitRule(Rule):
    """The CFG limit of one stage."""

    def __init__(self, settings: CfgLimit) -> None:
        self._settings = settings

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """Return the stage's rule, or None if its settings have no CFG limit."""
        del texts
        return None if stage.settings.cfg_limit is None else cls(stage.settings.cfg_limit)

    def limited(self, guided: Tensor, positive: Tensor, x: Tensor) -> Tensor:
        """Return the guided prediction with its norm limited to a multiple of the positive one's; (1, 16, h, w)."""
        origin = ORIGINS[self._settings.of](x)
        length, most = (torch.linalg.vector_norm(item - origin) for item in (guided, positive))
        return origin + (guided - origin) * torch.clamp(self._settings.most * most / length, max=1.0)
