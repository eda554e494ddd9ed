"""Output to the terminal that all commands share, and its language."""

from __future__ import annotations

import errno
import io
import locale
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from zimage_app.domain.errors import StudioError, system_reason
from zimage_app.domain.text import Language, Text, language_named, visible

BAD_INPUT = 2
"""Exit status for invalid input."""
INTERRUPTED = 130
"""Exit status after Ctrl+C; the same as of programs that SIGINT kills."""
_NOBODY_READS = 141
"""Exit status if a pipe's reader has closed it; the same as of programs that SIGPIPE kills."""


class EscapingStream(io.TextIOBase):
    """A stream that escapes control characters, so that prompts and file names can't control the terminal.

    ANSI colours pass. Writing never raises OSError, because a command should finish its work even if nobody reads its
    output; after an error the stream writes nothing more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` is None if it was closed when the program started, as with ``>&-``."""
        self._stream = stream
        self.failure: OSError | None = None
        """Why the stream could not be written."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the underlying stream."""
        return "utf-8" if self._stream is None else self._stream.encoding

    def write(self, text: str) -> int:
        """Write the text with control characters escaped."""
        self._try(lambda stream: stream.write(visible(text, escapes=True)))
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether the underlying stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor of the underlying stream."""
        return super().fileno() if self._stream is None else self._stream.fileno()

    def _try(self, action: Callable[[TextIO], object]) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            action(stream)
        except OSError as error:
            self.failure, self._stream = error, None
            with suppress(OSError):  # a test's stream has no descriptor
                _silence(stream.fileno())


def _silence(descriptor: int) -> None:
    """Redirect a descriptor to the null device: at exit Python flushes its buffer, which would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def write_utf8() -> None:
    """Write UTF-8 to stdout and stderr: on Windows, pipes and files use the system's encoding, which lacks Chinese."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def language() -> Language:
    """The system's language: English, simplified Chinese, or traditional for Taiwan, Hong Kong and Macao."""
    name = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return language_named(name)


def notify(text: Text) -> None:
    """Print a sentence to stderr, separate from the result on stdout."""
    sys.stderr.write(f"{text.to(language())}\n")


def stopped() -> int:
    """Say that Ctrl+C has ended the program; returns its exit status."""
    notify(Text("Stopped.", "已停止。"))
    return INTERRUPTED


def print_error(error: StudioError, status: int) -> int:
    """Print an error's sentence; returns ``status``."""
    notify(error.text)
    return status


class BadInputError(StudioError):
    """The input is invalid; the command ends with the status BAD_INPUT."""


@contextmanager
def bad_input(*kinds: type[StudioError]) -> Iterator[None]:
    """Turn errors of these kinds into BadInputError."""
    try:
        yield
    except kinds as error:
        raise BadInputError(error.text) from error


def status_of(output: EscapingStream) -> int:
    """The exit status of a command that succeeded: a failure if its output couldn't be written, as on a full disk."""
    if output.failure is None:
        return 0
    if output.failure.errno in (errno.EPIPE, errno.EINVAL):  # EINVAL: a broken pipe on Windows
        return _NOBODY_READS
    reason = system_reason(output.failure)
    notify(
        Text(
            f"The output can't be written ({reason}); send it elsewhere.",
            f"无法写入输出（{reason}）；请换一个输出位置。",
        )
    )
    return 1
