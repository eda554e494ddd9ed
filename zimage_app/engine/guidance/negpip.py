"""NegPiP: phrases whose attention values are multiplied by a negative weight (hako-mikan's sd-webui-negpip).

The phrases' tokens are appended to the positive prompt, with their negative weights as value scale.
"""

from __future__ import annotations

import torch

from zimage_app.domain.plan import StagePlan
from zimage_app.engine.guidance.rule import Rule, StageTexts, TextFeatures

TEMPLATE_BEFORE, TEMPLATE_AFTER = 3, 5
"""Number of chat-template tokens before and after the user's text."""


class NegPipRule(Rule):
    """The negatively weighted phrases of one stage."""

    def __init__(self, texts: StageTexts) -> None:
        phrases = [(features[TEMPLATE_BEFORE:-TEMPLATE_AFTER], weight) for features, weight in texts.phrases]
        self._features = torch.cat([features for features, _ in phrases])
        self._scale = torch.cat([torch.full((features.shape[0],), weight) for features, weight in phrases])

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """Return the stage's rule, or None if it has no negatively weighted phrases."""
        del stage
        return cls(texts) if texts.phrases else None

    def text(self, text: TextFeatures) -> TextFeatures:
        """Return the text with the phrases inserted before the chat template's closing tokens."""
        before, after = text.features[:-TEMPLATE_AFTER], text.features[-TEMPLATE_AFTER:]
        ones = torch.ones(before.shape[0]), torch.ones(after.shape[0])
        return TextFeatures(
            text.field,
            torch.cat([before, self._features.to(before), after]),
            torch.cat([ones[0], self._scale, ones[1]]),
        )
