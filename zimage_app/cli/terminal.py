"""Output to the terminal that all commands share, and its language."""

from __future__ import annotations

import io
import locale
import os
import sys
from typing import TextIO

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, Text, language_named, visible

BAD_INPUT = 2
"""Exit status for invalid input."""


class CarefulStream(io.TextIOBase):
    """A stream that escapes control characters, so that prompts and file names can't control the terminal.

    ANSI colours pass.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the underlying stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write the text with control characters escaped."""
        return self._stream.write(visible(text, escapes=True))

    def flush(self) -> None:
        """Flush the underlying stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the underlying stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor of the underlying stream."""
        return self._stream.fileno()


def language() -> Language:
    """The system's language: English, simplified Chinese, or traditional for Taiwan, Hong Kong and Macao."""
    name = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return language_named(name)


def tell(text: Text) -> None:
    """Print a sentence to stderr, separate from the result on stdout."""
    sys.stderr.write(f"{text.to(language())}\n")


def complain(error: StudioError, status: int) -> int:
    """Print an error's sentence; returns ``status``."""
    tell(error.text)
    return status
