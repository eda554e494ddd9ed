"""Counts a text's tokens with a model's own tokenizer, without reading its weights."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from zimage_app.domain.errors import ModelError
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.library.transformer_config import text_positions

if TYPE_CHECKING:
    from zimage_app.models.networks.text_encoder import Tokenizer


class TokenCounter:
    """Counts tokens, caching the tokenizer of the last model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._tokenizer: Tokenizer | None = None

    def count(self, source: ModelSource, text: str) -> int | None:
        """The number of tokens that ``text`` adds to an empty prompt; None where the tokenizer can't be loaded.

        The first call for a model takes seconds; loading the model reports the problem.
        """
        tokenizer = self._tokenizer_of(source)
        return None if tokenizer is None else len(tokenizer.ids(text)) - tokenizer.empty

    def limit(self, source: ModelSource) -> int | None:
        """The maximum number of tokens that a text may add to an empty prompt; None where unknown."""
        tokenizer, positions = self._tokenizer_of(source), text_positions(source)
        if tokenizer is None or positions is None:
            return None
        from zimage_app.models.networks.transformer import longest_caption  # imports torch

        return longest_caption(positions) - tokenizer.empty

    def _tokenizer_of(self, source: ModelSource) -> Tokenizer | None:
        folder = source.places.tokenizer.path
        with self._lock:
            if folder != self._folder:
                from zimage_app.models.networks.text_encoder import load_tokenizer  # imports torch

                self._tokenizer = None
                with contextlib.suppress(ModelError):
                    self._tokenizer = load_tokenizer(folder)
                self._folder = folder
            return self._tokenizer
