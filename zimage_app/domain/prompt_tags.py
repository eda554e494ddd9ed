"""Removes ``<lora:name:0.8>`` tags from a prompt and turns them into LoRA uses. No file access.

A1111's forms are understood: ``<lora:name>``, ``<lora:name:0.8>``, ``<lora:name:te:unet>`` and ``te=``, ``unet=``; also
``<lyco:…>`` and the full-width signs ＜ ： ＞ of a Chinese keyboard. ``stages=1,2`` is this
app's extension: the stages, from 1, in which the LoRA acts. Z-Image's LoRAs change the transformer only, so of two
numbers the second counts and the first has no effect.

Where a LoRA is in a tag and in the list, the tag's strength applies, and so do its stages if it gives any; the list's
trigger words stay. Several tags of one LoRA are several uses, whose strengths add up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from zimage_app.domain.errors import LoraError, RequestError, wrong_field, wrong_part
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import MAX_LORAS, MAX_STRENGTH, LoraUse
from zimage_app.domain.settings.stage import MAX_STAGES
from zimage_app.domain.text import Text, shortened

_TAG = re.compile(r"[<＜]\s*(?:lora|lyco)\s*[:：]([^<>＜＞]*)[>＞]", re.IGNORECASE)
_BEGUN = re.compile(r"[<＜]\s*(?:lora|lyco)\s*[:：]", re.IGNORECASE)
_GAP = "\0"
"""Marks the place of a removed tag; occurrences in the prompt itself are replaced by spaces first."""
_EMPTY_PLACES = re.compile(rf"(?<![\s,，、])[\s,，、]*{_GAP}[\s,，、{_GAP}]*")
_SEPARATORS = ",，、"
_SHOWN = 60
_NUMBERS_ALLOWED = 2
_NAMED = ("te", "unet", "stages")


@dataclass(frozen=True, slots=True)
class Tag:
    """One validated tag."""

    name: str
    strength: float
    stages: tuple[int, ...] | None
    """Counted from 1; None where the tag gives no stages."""
    unused: float | None
    """The strength for the text encoder where it differs from the transformer's; it has no effect."""


def plain_name(name: str) -> str:
    """A LoRA's name with forward slashes and without its suffix, to compare spellings without file access."""
    return name.strip().replace("\\", "/").removesuffix(".safetensors")


def tag_of(use: LoraUse) -> str:
    """A LoRA use as a tag that ``split_tags`` can parse; trigger words are left out."""
    stages = "" if use.stages is None else f":stages={','.join(map(str, use.stages))}"
    return f"<lora:{use.name}:{use.strength:g}{stages}>"


def split_tags(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """The prompt without its tags, and the tags in order. A prompt without tags is returned unchanged.

    Raises:
        RequestError: a tag is not closed or has no name, or one of its numbers is invalid or out of bounds.
    """
    tags = tuple(_tag(match) for match in _TAG.finditer(prompt))
    text = _TAG.sub(_GAP, prompt.replace(_GAP, " ")) if tags else prompt
    unclosed = _BEGUN.search(text)
    if unclosed:
        rest = shortened(text[unclosed.start() :].partition("\n")[0], _SHOWN)
        raise wrong_part(rest, "the tag is not closed; end it with >", "标签没有结束；请以 > 结尾")
    return (_closed(text) if tags else text), tags


def without_refused_tags(prompt: str) -> tuple[str, tuple[RequestError, ...]]:
    """The prompt without the tags that ``split_tags`` refuses, except one that is not closed, and why it does so."""
    refused: list[RequestError] = []

    def kept(match: re.Match[str]) -> str:
        try:
            _tag(match)
        except RequestError as error:
            refused.append(error)
            return _GAP
        return match[0]

    text = _TAG.sub(kept, prompt.replace(_GAP, " "))
    return (_closed(text) if refused else prompt), tuple(refused)


def take_tags(
    request: GenerationRequest, name_of: Callable[[str], str] = plain_name
) -> tuple[GenerationRequest, tuple[Text, ...]]:
    """Move the prompt's LoRA tags into the request's list; returns the request and warnings for the user.

    ``name_of`` returns a LoRA's full name. Its LoraError for an unknown name is ignored for LoRAs at strength 0, which
    are off.

    Raises:
        RequestError: a tag is invalid or in the negative prompt, or no prompt or too many LoRAs remain.
    """
    prompt, tags = split_tags(request.prompt)
    if split_tags(request.negative)[1]:
        raise wrong_field(
            "negative",
            "holds a LoRA tag, which acts in the prompt only; move it there, with a negative strength if you like",
            "含有 LoRA 标签，标签只在提示词里起作用；请移到提示词中，需要时把强度写成负数",
        )
    if tags and not prompt:
        raise wrong_field("prompt", "has only LoRA tags; describe the picture too", "只有 LoRA 标签；请再写上画面描述")
    listed = [_named(use, name_of) for use in request.loras]
    uses = _with_tags(listed, [_named(_use(tag), name_of) for tag in tags])
    if len(uses) > MAX_LORAS:
        raise wrong_field(
            "loras",
            f"{len(uses)} LoRAs with those in the prompt; at most {MAX_LORAS} are allowed",
            f"连同提示词中的共 {len(uses)} 个 LoRA；最多 {MAX_LORAS} 个",
        )
    changed = {"prompt": prompt, "loras": tuple(uses)}
    return request.model_copy(update=changed), tuple(_unused(tag) for tag in tags if tag.unused is not None)


def _use(tag: Tag) -> LoraUse:
    return LoraUse(name=tag.name, strength=tag.strength, stages=tag.stages)


def _named(use: LoraUse, name_of: Callable[[str], str]) -> LoraUse:
    try:
        return use.model_copy(update={"name": name_of(use.name)})
    except LoraError:
        if use.strength:
            raise
        return use


def _with_tags(listed: list[LoraUse], tagged: list[LoraUse]) -> list[LoraUse]:
    """The list with each LoRA that has tags replaced by its tags, followed by the other tags."""
    names = {plain_name(use.name) for use in tagged}
    uses: list[LoraUse] = []
    for use in listed:
        name = plain_name(use.name)
        if name not in names:
            uses.append(use)
            continue
        mine = [tag for tag in tagged if plain_name(tag.name) == name]
        tagged = [tag for tag in tagged if plain_name(tag.name) != name]
        uses += [_merged(use, tag) for tag in mine]
    return uses + tagged


def _merged(use: LoraUse, tag: LoraUse) -> LoraUse:
    stages = use.stages if tag.stages is None else tag.stages
    return use.model_copy(update={"name": tag.name, "strength": tag.strength, "stages": stages})


def _tag(match: re.Match[str]) -> Tag:
    shown = shortened(match[0], _SHOWN)
    name, *arguments = (part.strip() for part in re.split("[:：]", match[1]))
    if not name:
        raise wrong_part(
            shown, "the tag names no LoRA; write <lora:name:0.8>", "标签里没有名称；请写成 <lora:名称:0.8>"
        )
    positional = [part for part in arguments if "=" not in part]
    named = _arguments([part for part in arguments if "=" in part], shown)
    if len(positional) > _NUMBERS_ALLOWED:
        raise wrong_part(
            shown, "has more than two numbers; write <lora:name:0.8>", "数字多于两个；请写成 <lora:名称:0.8>"
        )
    numbers = [_strength(part, shown) for part in positional]
    text_encoder = _strength(named["te"], shown) if "te" in named else numbers[0] if numbers else 1.0
    strength = _strength(named["unet"], shown) if "unet" in named else numbers[1] if len(numbers) > 1 else text_encoder
    stages = _stages(named["stages"], shown) if "stages" in named else None
    return Tag(name, strength, stages, None if text_encoder == strength else text_encoder)


def _arguments(parts: list[str], shown: str) -> dict[str, str]:
    pairs = {key.strip().lower(): value.strip() for key, _, value in (part.partition("=") for part in parts)}
    unknown = next((key for key in pairs if key not in _NAMED), None)
    if unknown is not None:
        raise wrong_part(
            shown,
            f"{shortened(unknown, _SHOWN)}= is not supported; te=, unet= and stages= are",
            f"不支持 {shortened(unknown, _SHOWN)}=；可用 te=、unet=、stages=",
        )
    return pairs


def _strength(text: str, shown: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -MAX_STRENGTH <= value <= MAX_STRENGTH:
        raise wrong_part(
            shown,
            f"the strength {shortened(text, _SHOWN)!r} must be a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}",
            f"强度 {shortened(text, _SHOWN)!r} 必须是 {-MAX_STRENGTH:g} 到 {MAX_STRENGTH:g} 之间的数",
        )
    return value


def _stages(text: str, shown: str) -> tuple[int, ...]:
    parts = [part.strip() for part in re.split(f"[{_SEPARATORS}+]", text)]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part[:9]) <= MAX_STAGES for part in parts):
        raise wrong_part(
            shown,
            f"stages={shortened(text, _SHOWN)} must be stage numbers, as in stages=1,2",
            f"stages={shortened(text, _SHOWN)} 必须是阶段编号，例如 stages=1,2",
        )
    return tuple(sorted({int(part) for part in parts}))


def _closed(text: str) -> str:
    """Close the gaps that tags left: one separator between two pieces of text, none at either end."""

    def join(match: re.Match[str]) -> str:
        if match.start() == 0 or match.end() == len(text):
            return ""
        separator = next((sign for sign in match[0] if sign in _SEPARATORS), "")
        if separator:
            return f"{separator} " if separator == "," else separator
        blank = match[0].replace(_GAP, "")
        return "\n" if "\n" in blank else " " if blank else ""

    return _EMPTY_PLACES.sub(join, text)


def _unused(tag: Tag) -> Text:
    return Text(
        f"LoRA {tag.name}: {tag.strength:g} is used; {tag.unused:g} is for a text encoder, which Z-Image's LoRAs leave"
        " as it is.",
        f"LoRA {tag.name}：使用强度 {tag.strength:g}；{tag.unused:g} 针对文本编码器，而 Z-Image 的 LoRA 不改动它。",
    )
