"""What every command says on the terminal, and in which language."""

from __future__ import annotations

import locale
import os
import sys

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, Text, language_named

BAD_INPUT = 2
"""Exit status for what the user should ask differently."""


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
