"""Parses ``ink=0.8@1,2``: a LoRA with its strength and stages on one line."""

from __future__ import annotations

import re
from typing import Any

from zimage_app.domain.errors import RequestError, wrong_field

_STAGES = re.compile(r"@([\d,]*)$")
_MAX_DIGITS = 9


def lora_use(text: str, usual: float = 1.0) -> dict[str, Any]:
    """Parse NAME, NAME=STRENGTH or NAME=STRENGTH@STAGES into plain data; the request's validation checks the bounds.

    ``usual`` is the strength where none is given.

    Raises:
        RequestError: for ``lora``: the name is missing, or the strength or the stages are not numbers.
    """
    match = _STAGES.search(text)
    name, equals, strength = (text[: match.start()] if match else text).rpartition("=")
    if not equals:
        name, strength = strength, str(usual)
    use: dict[str, Any] = {"name": name.strip(), "strength": _number(strength, text)}
    if match:
        use["stages"] = [_stage(part, text) for part in match[1].split(",")]
    if not use["name"]:
        raise _wrong(text)
    return use


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _wrong(whole) from error


def _stage(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise _wrong(whole)
    return int(text)


def _wrong(text: str) -> RequestError:
    shown = text if len(text) <= 60 else f"{text[:59]}…"
    return wrong_field(
        "lora",
        f"{shown!r}: write NAME, NAME=STRENGTH or NAME=STRENGTH@STAGES, as in ink=0.8@1,2",
        f"{shown!r}：请写成 名称、名称=强度 或 名称=强度@阶段，例如 ink=0.8@1,2",
    )
