"""Parses A1111's ``parameters`` text: prompt, ``Negative prompt:``, and a line of ``Key: value`` pairs.

Values with a comma, colon or line break are JSON strings; some programs write other JSON values. Chat programs may join
all lines to one, and websites and copy buttons may append lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NEGATIVE = "Negative prompt:"
_LAST_LINES = 12
"""Number of lines from the end that are searched for the pairs."""
_MAX_LINE = 100_000
"""Maximum characters of the pairs. This app's own pairs hold an escaped prompt at most."""
_STEPS = re.compile(r"\bSteps:\s{0,4}\d{1,6}(?=\s{0,4}(,|$))")
_KEY = re.compile(r"\s{0,8}(\w[\w \-/()+.#]{0,60}?)\s{0,4}:\s{0,4}")
_TO_COMMA = re.compile(r"[^,]*")
_ENDS = re.compile(r"\s{0,4}(,|$)")
_USUAL = re.compile(r"\b(?:Sampler|Schedule type|Scheduler|CFG scale|Guidance Scale|Seed|Size|Model)\s{0,4}:")
_TEMPLATE = re.compile(r"^(Negative template|Template):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Infotext:
    """A parsed infotext."""

    prompt: str
    negative: str
    facts: dict[str, Any]
    """Lower-case key -> value: a string, or the parsed value if it was JSON."""


def is_infotext(text: str) -> bool:
    """Whether a text is an infotext."""
    return _pairs_begin(text) is not None


def parsed(text: str) -> Infotext:
    """Parse an infotext; if it isn't one, the whole text is the prompt."""
    text = text.replace("\r\n", "\n").strip()
    begin = _pairs_begin(text)
    if begin is None:
        return Infotext(text, "", {})
    end = text.find("\n", begin)
    line = text[begin : len(text) if end < 0 else end][:_MAX_LINE]
    facts: dict[str, Any] = {}
    for key, value in _pairs(line):
        facts.setdefault(key.lower(), value)
    own_line = begin == 0 or text[begin - 1] == "\n"
    body = text[:begin]
    prompt, negative = _split(body, one_line=not own_line)
    if "sd.next" in str(facts.get("app", "")).lower():
        prompt, negative = (_without_template(part) for part in (prompt, negative))
    return Infotext(prompt.strip(), negative.strip(), facts)


def _pairs_begin(text: str) -> int | None:
    """Return the index where the pairs begin, preferably at the start of one of the last lines; None without pairs."""
    end = len(text)
    inside: int | None = None
    for _ in range(_LAST_LINES):
        begin = text.rfind("\n", 0, end) + 1
        line = text[begin:end]
        found = [match.start() for match in _STEPS.finditer(line[-_MAX_LINE:])]
        offset = begin + max(0, len(line) - _MAX_LINE)
        if found and found[0] + offset - begin <= len(line) - len(line.lstrip()):
            return offset + found[0]
        if found and inside is None and _USUAL.search(line, offset - begin + found[-1]):
            inside = offset + found[-1]
        if begin == 0:
            break
        end = begin - 1
    return inside


def _split(body: str, *, one_line: bool) -> tuple[str, str]:
    """Split at the first line that begins with "Negative prompt:"; in a one-line text at its last occurrence."""
    start = 0 if body.startswith(_NEGATIVE) else body.find(f"\n{_NEGATIVE}")
    if start < 0 and one_line:
        start = body.rfind(_NEGATIVE, body.rfind("\n") + 1)
    if start < 0:
        return body, ""
    return body[:start], body[start:].lstrip("\n")[len(_NEGATIVE) :]


def _without_template(text: str) -> str:
    """Remove the wildcard template that SD.Next appends to the drawn text."""
    match = _TEMPLATE.search(text)
    return text[: match.start()] if match else text


def _pairs(line: str) -> Iterator[tuple[str, Any]]:
    at = 0
    while at < len(line):
        key = _KEY.match(line, at)
        if key is None:
            at = _behind_comma(line, at)
            continue
        value, at = _value(line, key.end())
        yield key[1].strip(), value


def _value(line: str, at: int) -> tuple[Any, int]:
    """Return a value and the index where the next pair begins."""
    if line[at : at + 1] in ('"', "{", "["):
        try:
            value, end = json.JSONDecoder().raw_decode(line, at)
        except (ValueError, RecursionError):
            pass
        else:
            if _ENDS.match(line, end):
                return value, _behind_comma(line, end)
    text = _TO_COMMA.match(line, at)
    end = text.end() if text else len(line)
    return line[at:end].strip(), end + 1


def _behind_comma(line: str, at: int) -> int:
    found = line.find(",", at)
    return len(line) if found < 0 else found + 1
