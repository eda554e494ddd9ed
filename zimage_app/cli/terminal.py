"""What every command says on the terminal, and in which language."""

from __future__ import annotations

import io
import locale
import os
import sys
from typing import TextIO

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, Text, language_named, visible

BAD_INPUT = 2
"""Exit status for what the user should ask differently."""


class CarefulStream(io.TextIOBase):
    """A stream to a terminal that prompts and file names of others can't command; colours pass."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write what is safe to show."""
        return self._stream.write(visible(text, escapes=True))

    def flush(self) -> None:
        """Pass on."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's."""
        return self._stream.fileno()


def language() -> Language:
    """Chinese where the system is, traditional in Taiwan, Hong Kong and Macao."""
    name = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return language_named(name)


def tell(text: Text) -> None:
    """A sentence beside the result."""
    sys.stderr.write(f"{text.to(language())}\n")


def complain(error: StudioError, status: int) -> int:
    """Say what is wrong; gives ``status``."""
    tell(error.text)
    return status
