"""The table of guidance rules, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Callable

from zimage_app.domain.plan import StagePlan
from zimage_app.engine.guidance.limit import LimitRule
from zimage_app.engine.guidance.nag import NagRule
from zimage_app.engine.guidance.negpip import NegPipRule
from zimage_app.engine.guidance.rule import Rule, StageTexts
from zimage_app.engine.guidance.variance import VarianceRule

RULES: tuple[Callable[[StagePlan, StageTexts], Rule | None], ...] = (
    VarianceRule.of,
    NegPipRule.of,
    NagRule.of,
    LimitRule.of,
)


def rules_for(stage: StagePlan, texts: StageTexts) -> tuple[Rule, ...]:
    """Return the rules that the stage's settings switch on."""
    made = (make(stage, texts) for make in RULES)
    return tuple(rule for rule in made if rule is not None)
