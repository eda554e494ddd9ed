"""Seed variance: adds noise to the text features at high sigmas, so that different seeds give more varied pictures.

The noise is drawn in float32 on the CPU, so that a seed gives the same noise on every device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.schedules import as_float32, percent_to_sigma
from zimage_app.domain.settings.guidance import Variance
from zimage_app.engine.guidance.rule import Rule, StageTexts, TextFeatures

_SEEDS = 2**64


def relative(features: Tensor, strength: float, share: float, seed: int) -> Tensor:
    """Return noise (tokens, channels) scaled by the features' standard deviation, as InvokeAI calibrates it."""
    uniform = torch.rand(features.shape, generator=torch.Generator().manual_seed(seed))
    hit = _random_mask(features.shape, share, torch.Generator().manual_seed((seed + 1) % _SEEDS))
    return (2.0 * uniform - 1.0) * (strength * features.std()) * hit


def absolute(features: Tensor, strength: float, share: float, seed: int) -> Tensor:
    """Return noise (tokens, channels) of absolute size, as ComfyUI's SeedVarianceEnhancer calibrates it."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(features.shape, generator=generator)
    return (2.0 * uniform * strength - strength) * _random_mask(features.shape, share, generator)


def _random_mask(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    return torch.bernoulli(torch.full(shape, share), generator=generator)


NOISES: dict[str, Callable[[Tensor, float, float, int], Tensor]] = {"relative": relative, "absolute": absolute}
"""(features, strength, share of the values that are changed, seed) -> noise to add, shaped like the features."""


class VarianceRule(Rule):
    """Seed variance of one stage, with the stage's seed."""

    def __init__(self, settings: Variance, seed: int, until: float) -> None:
        self._settings = settings
        self._seed = seed
        self._until = until
        """Sigma at and below which the text features stay unchanged."""

    @classmethod
    def of(cls, stage: StagePlan, texts: StageTexts) -> Rule | None:
        """Return the stage's rule, or None if seed variance is off or has strength 0."""
        del texts
        settings = stage.settings.variance
        if settings is None or settings.strength == 0.0:
            return None
        return cls(settings, stage.seed, as_float32(percent_to_sigma(stage.settings.shift, settings.end)))

    def acts(self, sigma: float) -> bool:
        """Whether the rule is active at this noise level."""
        return sigma > self._until

    def text(self, text: TextFeatures) -> TextFeatures:
        """Return the text with the stage's noise added to its features."""
        settings = self._settings
        features = text.features.float().cpu()
        noise = NOISES[settings.noise](features, settings.strength, settings.share, self._seed)
        return TextFeatures(text.field, (features + noise).to(text.features), text.value_scale)
