"""Turns a batch's entries into pictures with plan, file name and key, or reports all errors at once."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.many import with_turn
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.setting_paths import plain_value, put
from zimage_app.domain.text import Text, shortened
from zimage_app.service.many.batch.reading import BatchEntry, BatchFile
from zimage_app.service.many.lists import with_more, with_size, without_nulls

SeedMode = Literal["count", "fixed", "random"]
NAME = "{index:03}-{id}-{seed}"
_MAX_NAME = 180
"""Bytes; file systems allow 255, of which endings and temporary names need some."""
_MAX_PROBLEM = 500
"""Characters of what is said about one entry."""
_ANY_PROMPT = "-"
_NO_FILE_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f\ud800-\udfff]+')
_PROMPTS = ("prompt", "image_prompt", "scene_hint")
"""Keys of the prompt; the first one that an entry has is used."""
_SHORT = ("trigger_word", "lora", "lora_strength", "negative_prompt", "size")
_ABOUT = ("id", "text", "name")
"""Keys that describe an entry and don't affect its picture."""
_TEXTS = frozenset({*_PROMPTS, *_ABOUT, "negative", "trigger_word", "lora", "negative_prompt", "size"})
"""Keys whose CSV values stay text even if they look like numbers."""


class BatchError(RequestError):
    """All errors of a batch, one per line."""

    def __init__(self, source: str, problems: list[Text]) -> None:
        lines = [_placed(source, problem) for problem in problems]
        en, zh = ("\n".join(getattr(line, name) for line in lines) for name in ("en", "zh"))
        super().__init__("FILE", Text(en, zh))


def _placed(source: str, text: Text) -> Text:
    return Text(f"{source}, {text.en}", f"{source}，{text.zh}") if source else text


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Settings common to all entries."""

    settings: Mapping[str, Any]
    """Request settings as plain data; an entry's own settings override them."""
    plan: Callable[[GenerationRequest], GenerationPlan]
    seed: int
    """The seed of all entries (``fixed``), or of the first one (``count``)."""
    seed_mode: SeedMode = "count"
    name: str = NAME
    """Format of the file names, with ``index``, ``id`` and ``seed``."""
    made_with: str = ""
    """What the pictures depend on besides their settings, such as the model; part of the keys."""


@dataclass(frozen=True, slots=True)
class Item:
    """The identity of one picture of a batch or a grid."""

    index: int
    """Position from 1."""
    id: str
    key: str
    """Hash of all that the picture depends on, for resuming; duplicates get different keys by their number."""
    name: str
    """File name without suffix."""
    text: str
    """Text of a post; empty if there is none."""

    @property
    def file_name(self) -> str:
        """Name of the picture's file in the batch's folder."""
        return f"{self.name}.png"


@dataclass(frozen=True, slots=True)
class BatchItem(Item):
    """One picture and its plan."""

    plan: GenerationPlan


def batch_items(source: str, batch: BatchFile, options: BatchOptions) -> tuple[list[BatchItem], list[Text]]:
    """Return the pictures of a batch in order, and notes about settings without effect.

    ``source`` is the file's name, or empty without a file.

    Raises:
        BatchError: the batch has errors; lists all of them with file, line and field.
        RequestError: the common settings are invalid.
    """
    options = replace(options, settings=without_nulls(options.settings))
    parse_request({**options.settings, "prompt": _ANY_PROMPT})  # here, so that not every entry reports it
    problems = list(batch.problems)
    persona, notes = _persona(batch)
    items: list[BatchItem] = []
    seen: Counter[str] = Counter()
    for index, entry in enumerate(batch.entries, 1):
        try:
            items.append(_item(index, entry, persona, options, seen))
        except StudioError as error:
            en, zh = (shortened(text, _MAX_PROBLEM) for text in (error.text.en, error.text.zh))
            problems.append(Text(f"{entry.where.en}, {en}", f"{entry.where.zh}，{zh}"))
    problems += _same_names(items)
    if problems:
        raise BatchError(source, problems)
    return items, [_placed(source, note) for note in notes]


def _persona(batch: BatchFile) -> tuple[dict[str, Any], list[Text]]:
    """Return the persona's settings, and a note that lists its other keys, which have no effect."""
    if batch.persona is None:
        return {}, []
    known = without_nulls({name: value for name, value in batch.persona.values.items() if _is_setting(name)})
    left = [name for name in batch.persona.values if not _is_setting(name) and name not in _ABOUT]
    if not left:
        return known, []
    names = shortened(", ".join(map(str, left)), _MAX_PROBLEM)
    return known, [Text(f"persona: not used: {names}", f"persona：未使用：{names}")]


def _is_setting(name: object) -> bool:
    return isinstance(name, str) and (name.partition(".")[0] in GenerationRequest.model_fields or name in _SHORT)


def _item(
    index: int, entry: BatchEntry, persona: Mapping[str, Any], options: BatchOptions, seen: Counter[str]
) -> BatchItem:
    values = {str(name): value for name, value in entry.values.items()}
    if entry.written:
        values = {name: value if name in _TEXTS else plain_value(value) for name, value in values.items()}
    id_, text = _told(values, "id", str(index)), _told(values, "text", "")
    own = "seed" in values or "seed" in persona
    data = _data({**persona, **without_nulls(values)}, options.settings)
    request = parse_request(data)
    plan = options.plan(request if own else _seeded(request, index, options))
    rule = "" if own else f"{options.seed_mode} {options.settings.get('seed')}"
    facts = "\n".join((rule, options.made_with, json.dumps(data, sort_keys=True)))
    digest = hashlib.sha256(facts.encode()).hexdigest()[:24]
    seen[digest] += 1
    name = _file_name(options.name, index=index, id=id_, seed=plan.request.seed)
    return BatchItem(index, id_, f"{digest}-{seen[digest]}", name, text, plan)


def _told(values: Mapping[str, Any], name: str, otherwise: str) -> str:
    """Return what an entry says about itself, as text."""
    text = otherwise if values.get(name) is None else str(values[name])
    check_letters(name, text)
    return text


def check_letters(name: str, text: str) -> None:
    """Raise RequestError of ``name`` for a text with a lone surrogate, which can't be encoded as UTF-8."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RequestError(
            name, Text("contains an incomplete Unicode character; type it again", "含有残缺字符；请重新输入")
        )


def _seeded(request: GenerationRequest, index: int, options: BatchOptions) -> GenerationRequest:
    if options.seed_mode == "random":
        return request.model_copy(update={"seed": "random"})
    request = request.model_copy(update={"seed": options.seed})
    return with_turn(request, index - 1) if options.seed_mode == "count" else request


def _data(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an entry to a request's plain data; raises RequestError for an unknown setting."""
    data = copy.deepcopy(dict(settings))
    prompt = next((values[name] for name in _PROMPTS if values.get(name)), None)
    if prompt is None:
        raise RequestError(
            "prompt", Text("is missing (or image_prompt, scene_hint)", "缺少（或 image_prompt、scene_hint）")
        )
    data["prompt"] = prompt
    rest = {name: value for name, value in values.items() if name not in (*_PROMPTS, *_ABOUT, *_SHORT)}
    plain = [name for name in rest if "." not in name]
    for name in plain:
        if name not in GenerationRequest.model_fields:
            raise RequestError(name, Text("there is no such setting", "没有这个设置"))
        data[name] = rest.pop(name)
    data = _with_short(data, values)
    for name, value in rest.items():
        put(data, name, value)
    return data


def _with_short(data: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the short keys: trigger word and LoRA are added, negative prompt and size replace those in ``data``."""
    if values.get("trigger_word"):
        data = with_more(data, "triggers", values["trigger_word"])
    if values.get("lora"):
        strength = values.get("lora_strength")
        data = with_more(data, "loras", {"name": values["lora"], "strength": 1.0 if strength is None else strength})
    if values.get("negative_prompt"):
        data["negative"] = values["negative_prompt"]
    return with_size(data, values["size"]) if values.get("size") else data


def _file_name(pattern: str, **facts: object) -> str:
    try:
        name = pattern.format(**facts)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise RequestError(
            "--name",
            Text(f"{pattern}: may hold {{index}}, {{id}} and {{seed}}", f"{pattern}：可用 {{index}}、{{id}}、{{seed}}"),
        ) from error
    safe = _NO_FILE_NAME.sub("_", name).strip(" .")
    return safe.encode()[:_MAX_NAME].decode(errors="ignore").rstrip(" .") or "_"


def _same_names(items: list[BatchItem]) -> Iterator[Text]:
    first: dict[str, BatchItem] = {}
    for item in items:
        other = first.setdefault(item.name.casefold(), item)
        if other is not item:
            yield Text(
                f"entries {other.index} and {item.index} have the same name {item.name}; put {{index}} into --name",
                f"第 {other.index} 项与第 {item.index} 项的文件名同为 {item.name}；请在 --name 中加入 {{index}}",
            )
