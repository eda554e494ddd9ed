"""What a rule of guidance may do, and the texts that it does it to. Knows no rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zimage_app.models.components import Combine


@dataclass(frozen=True, eq=False, slots=True)
class TextFeatures:
    """A text as the transformer is given it. Two are the same only if they are one object."""

    field: str
    """Of the request, for what is to be said of the text."""
    features: Tensor
    """(tokens, channels)."""
    value_scale: Tensor | None = None
    """(tokens,): factors of what attention reads from the tokens; None is the same as ones."""


@dataclass(frozen=True, slots=True)
class StageTexts:
    """The texts of one stage."""

    positive: TextFeatures
    negative: TextFeatures | None
    """None where nothing in the stage reads it."""
    phrases: tuple[tuple[Tensor, float], ...] = ()
    """Text features (tokens, channels) in the whole chat template, and their weight, below 0."""


class Rule:
    """One rule for one stage. A method that is left out changes nothing."""

    def acts(self, sigma: float) -> bool:
        """Whether it does anything at this noise level."""
        del sigma
        return True

    def text(self, text: TextFeatures) -> TextFeatures:
        """The positive text, changed; rules earlier in the table have been there before."""
        return text

    def against(self, positive: TextFeatures) -> tuple[TextFeatures, Combine, bool] | None:
        """Another caption that the positive one's attention is held against (``AttentionGuidance``)."""
        del positive
        return None

    def limited(self, guided: Tensor, positive: Tensor, x: Tensor) -> Tensor:
        """What CFG made of the positive and the negative prediction, changed.

        All are latents (1, 16, h, w), float32, model space; ``guided`` and ``positive`` denoised, ``x`` the model's
        input.
        """
        del positive, x
        return guided
