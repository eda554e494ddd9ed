"""Removes personal data from text: home folders, the user's name, keys."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

from zimage_app.service.setup.config import ROOT

_KEYS = (
    (re.compile(r"\b(?:hf|sk|ghp|gho|github_pat|ms)[_-][A-Za-z0-9_-]{8,}"), "<key>"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"), r"\1 <key>"),
    (
        re.compile(
            r"(?i)((?:token|password|passwd|secret|api[_-]?key|authorization|cookie)[\w-]*[\"']?\s*[:=]\s*[\"']?)"
            r"(?!<key>|bearer|basic)[^\s,;\"'}]+"
        ),
        r"\1<key>",
    ),
    (re.compile(r"(\w+://)[^/\s:@]+:[^/\s@]+@"), r"\1<key>@"),
)
_HOMES = re.compile(r"(?i)(?<![\w.])(?:[a-z]:)?[\\/]+(?:home|users)[\\/]+[^\\/\s\"':]+")
_SHORTEST_NAME = 3
"""Characters; shorter user names occur as ordinary words."""


def scrubbed(text: str) -> str:
    """The text with ``~`` for home folders, ``.`` for the app's folder, and marks for keys and the user's name."""
    for folder, mark in _places():
        text = text.replace(folder, mark)
    text = _HOMES.sub("~", text)
    for pattern, mark in _KEYS:
        text = pattern.sub(mark, text)
    name = _user()
    if len(name) >= _SHORTEST_NAME and name != "root":
        text = re.sub(rf"\b{re.escape(name)}\b", "<user>", text)
    return text


def _places() -> list[tuple[str, str]]:
    places = [(str(ROOT), ".")]
    try:
        home = str(Path.home())
    except RuntimeError:  # the account has no home folder
        return places
    if len(home) > 1:
        places.append((home, "~"))
    return places


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container, the user id may have no name
        return ""
