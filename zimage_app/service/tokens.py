"""How many tokens a text is to a model: its own tokenizer is read, never its weights. Knows no prompts and no pages."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from zimage_app.domain.errors import ModelError
from zimage_app.models.sources import ModelSource

if TYPE_CHECKING:
    from zimage_app.models.text import Tokenizer


class TokenCounter:
    """Counts for one model at a time, whose tokenizer it keeps. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._tokenizer: Tokenizer | None = None

    def count(self, source: ModelSource, text: str) -> int | None:
        """The tokens that ``text`` adds to an empty prompt; None where the model's tokenizer can't be used.

        The first question for a model takes seconds; loading the model will say what is wrong with a tokenizer.
        """
        folder = source.places.tokenizer.path
        with self._lock:
            if folder != self._folder:
                from zimage_app.models.text import load_tokenizer  # takes torch

                self._tokenizer = None
                with contextlib.suppress(ModelError):
                    self._tokenizer = load_tokenizer(folder)
                self._folder = folder
            tokenizer = self._tokenizer
            return None if tokenizer is None else len(tokenizer.ids(text)) - len(tokenizer.ids(""))
