"""The interface of guidance rules, and the text features that they work on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zimage_app.models.components import Combine


@dataclass(frozen=True, eq=False, slots=True)
class TextFeatures:
    """A text's features as passed to the transformer. Compared and hashed by identity."""

    field: str
    """Name of the request's field that the text came from, for error messages."""
    features: Tensor
    """(tokens, channels)."""
    value_scale: Tensor | None = None
    """(tokens,): factors for the tokens' attention values; None means ones."""


@dataclass(frozen=True, slots=True)
class StageTexts:
    """The text features of one stage."""

    positive: TextFeatures
    negative: TextFeatures | None
    """None if nothing in the stage uses the negative prompt."""
    phrases: tuple[tuple[Tensor, float], ...] = ()
    """(text features (tokens, channels) including the whole chat template, negative weight) of each NegPiP phrase."""


class Rule:
    """One guidance rule for one stage. The methods' defaults change nothing."""

    def acts(self, sigma: float) -> bool:
        """Whether the rule is active at this noise level."""
        del sigma
        return True

    def text(self, text: TextFeatures) -> TextFeatures:
        """Return the changed positive text; ``text`` already includes the changes of rules earlier in the table."""
        return text

    def against(self, positive: TextFeatures) -> tuple[TextFeatures, Combine, bool] | None:
        """Return the arguments of ``AttentionGuidance``: (caption to guide away from, combine, captions), or None."""
        del positive
        return None

    def limited(self, guided: Tensor, positive: Tensor, x: Tensor) -> Tensor:
        """Return the changed result of CFG.

        All are latents (1, 16, h, w), float32, model space: ``guided`` is CFG's denoised latent, ``positive`` the
        positive prompt's, ``x`` the model's input.
        """
        del positive, x
        return guided
