"""Normalised attention guidance (NAG): guides every attention away from the negative prompt.

Chen et al. 2025, arXiv 2505.21179. The negative caption's tokens are appended to the positive row, so a step costs a
few percent more instead of twice as much as with CFG, and the negative prompt acts even at CFG 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.settings.guidance import Nag
from zimage_app.engine.guidance.rule import Rule, StageTexts, TextFeatures
from zimage_app.models.components import Combine

_TINY = 1e-7


@dataclass(frozen=True, slots=True)
class NagCombine:
    """z = alpha g + (1 - alpha) z+, where g = scale z+ - (scale - 1) z-, shrunk to tau times the L1 norm of z+."""

    scale: float
    tau: float
    alpha: float

    def __call__(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Combine attention outputs (rows, tokens, width) before the output projection; norms span all heads."""
        guided = self.scale * positive - (self.scale - 1.0) * negative
        norm, positive_norm = (item.abs().sum(-1, keepdim=True, dtype=torch.float32) for item in (guided, positive))
        shrunk = torch.where(norm > self.tau * positive_norm, self.tau * positive_norm / (norm + _TINY), 1.0).to(
            guided.dtype
        )
        return torch.lerp(positive, guided * shrunk, self.alpha)


class NagRule(Rule):
    """NAG of one stage, with the negative prompt's text features."""

    def __init__(self, settings: Nag, negative: TextFeatures) -> None:
        self._settings = settings
        self._negative = negative

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """Return the stage's rule, or None if NAG is off, has no effect or has no negative prompt."""
        settings = stage.settings.nag
        if settings is None or not settings.on or texts.negative is None:
            return None
        return cls(settings, texts.negative)

    def acts(self, sigma: float) -> bool:
        """Whether the rule is active at this noise level."""
        return self._settings.acts_at(sigma)

    def against(self, positive: TextFeatures) -> tuple[TextFeatures, Combine, bool]:
        """Return (negative caption, combine function, whether the caption's own token rows are guided too)."""
        settings, negative = self._settings, self._negative
        if settings.lengths == "trimmed":
            negative = trimmed(negative, positive.features.shape[0])
        combine = NagCombine(settings.scale, settings.tau, settings.alpha)
        return negative, combine, settings.rows == "all"


def trimmed(text: TextFeatures, tokens: int) -> TextFeatures:
    """Return the text with exactly ``tokens`` tokens: cut off, or padded by repeating its last token."""
    places = torch.arange(tokens, device=text.features.device).clamp(max=text.features.shape[0] - 1)
    return TextFeatures(text.field, text.features[places])
