"""Details of a LoRA from its header's metadata and from JSON files of other tools beside it.

The content is untrusted: values may have any type or length. Values that don't fit are ignored, and never an error.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from zimage_app.domain.plain_json import read_json
from zimage_app.domain.settings.lora_use import MAX_STRENGTH
from zimage_app.models.disk.regular_file import open_regular

COMPANIONS = (".civitai.info", ".metadata.json", ".cm-info.json", ".swarm.json", ".json")
"""Suffixes after a LoRA's name, most trusted first: Civitai's response (saved by several tools), ComfyUI LoRA Manager,
Stability Matrix, SwarmUI, A1111 and Forge."""

MAX_WORD = 200
MAX_WORDS = 32
_MAX_FILE = 4 * 2**20
"""Bytes. Civitai's responses contain the prompts of many pictures and reach some hundred thousand."""
_MAX_TEXT = 300
_MAX_NOTE = 2000
_SEPARATORS = re.compile(r"[,，、;；\n]")
_TITLES = ("modelspec.title", "model_name", "ModelName")
_BASES = ("modelspec.architecture", "baseModel", "BaseModel", "base_model", "ss_base_model_version", "sd version")
_UNKNOWN_BASES = frozenset({"unknown", "other", "none"})
_FREQUENT = 0.8
"""Lowest frequency of a guessed tag, as a fraction of the most frequent tag's."""
_MAX_GUESSES = 3


class LoraMetadata(BaseModel):
    """The details in one file; fields are empty where it gives none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    base: str = ""
    """The model that the LoRA was trained on, as the file calls it."""
    phrase: tuple[str, ...] = ()
    """Trigger words that belong together."""
    choices: tuple[str, ...] = ()
    """Alternative trigger words (Civitai's list)."""
    guesses: tuple[str, ...] = ()
    """Likely trigger words: the most frequent tags of the training pictures."""
    strength: float | None = None
    note: str = ""


def read_companion(path: Path) -> LoraMetadata:
    """The details in a companion file; empty where it can't be read."""
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_FILE + 1)
        said = read_json(data.decode("utf-8-sig")) if len(data) <= _MAX_FILE else None
    except (OSError, ValueError, RecursionError):
        return LoraMetadata()
    return parse_metadata(said)


def parse_metadata(data: object) -> LoraMetadata:
    """The details in parsed data: a safetensors header's metadata, or any of the COMPANIONS."""
    if not isinstance(data, Mapping):
        return LoraMetadata()
    model, civitai = (data[key] if isinstance(data.get(key), Mapping) else {} for key in ("model", "civitai"))
    maps = [data, civitai]
    return LoraMetadata(
        title=_first_text(maps, _TITLES) or clean_text(model.get("name")),
        base=_base(maps),
        phrase=split_at_commas(data.get("modelspec.trigger_phrase")) or split_at_commas(data.get("activation text")),
        choices=clean_words(word for each in maps for word in _listed(each)),
        guesses=_frequent_tags(data.get("ss_tag_frequency")),
        strength=_strength(data),
        note=clean_text(data.get("notes"), _MAX_NOTE),
    )


def clean_text(value: object, longest: int = _MAX_TEXT) -> str:
    """Text on one line, without control characters, cut off at ``longest``; empty for other types."""
    if not isinstance(value, str):
        return ""
    visible = "".join(letter if letter.isprintable() else " " for letter in value[: 4 * longest])
    return " ".join(visible.split())[:longest]


def clean_words(values: Iterable[object]) -> tuple[str, ...]:
    """Distinct trigger words; a value that is too long for one word is split at its commas."""
    words: list[str] = []
    for value in values:
        text = clean_text(value, _MAX_NOTE).strip(" ,，、;；")
        parts = [text] if len(text) <= MAX_WORD else [part.strip() for part in _SEPARATORS.split(text)]
        words += [part for part in parts if 0 < len(part) <= MAX_WORD]
    return tuple(dict.fromkeys(words))[:MAX_WORDS]


def split_at_commas(text: object) -> tuple[str, ...]:
    """Split a text with trigger words at its commas."""
    return clean_words(_SEPARATORS.split(text[:_MAX_NOTE])) if isinstance(text, str) else ()


def usable_strength(value: object) -> float | None:
    """Parse a suggested strength; None where it is invalid or 0, which A1111 writes for "not set"."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0.0 < abs(number) <= MAX_STRENGTH else None


def _listed(data: Mapping[Any, Any]) -> Iterator[object]:
    for key in ("trainedWords", "TrainedWords"):
        if isinstance(data.get(key), list):
            yield from data[key][: 4 * MAX_WORDS]


def _first_text(maps: list[Mapping[Any, Any]], keys: tuple[str, ...]) -> str:
    return next(filter(None, (clean_text(each.get(key)) for each in maps for key in keys)), "")


def _base(maps: list[Mapping[Any, Any]]) -> str:
    said = (clean_text(each.get(key)) for each in maps for key in _BASES)
    return next((base for base in said if base and base.casefold() not in _UNKNOWN_BASES), "")


def _strength(data: Mapping[Any, Any]) -> float | None:
    tips = data.get("usage_tips")  # LoRA Manager stores JSON text inside its JSON
    if isinstance(tips, str) and len(tips) <= _MAX_NOTE:
        try:
            tips = read_json(tips)
        except (ValueError, RecursionError):
            tips = None
    of_tips = usable_strength(tips.get("strength")) if isinstance(tips, Mapping) else None
    return usable_strength(data.get("preferred weight")) or of_tips


def _frequent_tags(text: object) -> tuple[str, ...]:
    """The most frequent tags of kohya's ``ss_tag_frequency``: JSON of folder -> tag -> number of pictures."""
    try:
        folders = read_json(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return ()
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, Mapping) else ():
        if isinstance(tags, Mapping):
            counts.update({tag: count for tag, count in tags.items() if type(count) is int and 0 < count < 2**31})
    most = max(counts.values(), default=0)
    common = [tag for tag, count in counts.most_common(_MAX_GUESSES) if count >= _FREQUENT * most]
    return clean_words(tag for tag in common if len(tag) <= MAX_WORD)
