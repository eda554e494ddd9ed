"""NegPiP: phrases whose content is subtracted wherever attention reads it (hako-mikan's sd-webui-negpip).

The phrases stand in the positive prompt's own tokens, with negative factors for their values.
"""

from __future__ import annotations

import torch

from zimage_app.domain.plan import StagePlan
from zimage_app.engine.guidance.rule import Rule, StageTexts, TextFeatures

TEMPLATE_BEFORE, TEMPLATE_AFTER = 3, 5
"""Tokens of the chat template before and behind a text."""


class NegPipRule(Rule):
    """The phrases of one stage."""

    def __init__(self, texts: StageTexts) -> None:
        phrases = [(features[TEMPLATE_BEFORE:-TEMPLATE_AFTER], weight) for features, weight in texts.phrases]
        self._features = torch.cat([features for features, _ in phrases])
        self._scale = torch.cat([torch.full((features.shape[0],), weight) for features, weight in phrases])

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """None where the stage has no such phrases."""
        del stage
        return cls(texts) if texts.phrases else None

    def text(self, text: TextFeatures) -> TextFeatures:
        """The text with the phrases before what the chat template has behind it."""
        before, after = text.features[:-TEMPLATE_AFTER], text.features[-TEMPLATE_AFTER:]
        ones = torch.ones(before.shape[0]), torch.ones(after.shape[0])
        return TextFeatures(
            text.field,
            torch.cat([before, self._features.to(before), after]),
            torch.cat([ones[0], self._scale, ones[1]]),
        )
