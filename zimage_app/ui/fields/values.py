"""Converts between the page's field values and a request. Independent of Gradio components.

A page value has the name of its field in the request: ``prompt``, ``seed``. ``stages`` is a list with a dictionary of
values per stage, named by their path in the stage: ``width``, ``easycache.threshold``. ``easycache`` itself is the
switch of that group, and so for every group of a stage (``STAGE_GROUPS``); values of a group that is off are ignored.
Half-typed values are passed on as typed: only ``parse_request`` checks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError, StudioError, after_title
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import MAX_STAGES, STAGE_GROUPS, Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import split_words
from zimage_app.ui.words.i18n import WORDS

Values = dict[str, Any]

REQUEST_FIELDS = (
    "prompt",
    "negative",
    "triggers",
    "loras",
    "seed",
    "variation_strength",
    "variation_seed",
    "stages",
    "start",
    "keep_stages",
)
"""Request fields that have a control on the page."""
_RANDOM_SEED = ("", "-1")


def stage_fields() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Yield (name in the stage's values, model, field) for every setting of a stage."""
    for field in Stage.model_fields:
        yield field, Stage, field
    for group, model in STAGE_GROUPS.items():
        for field in model.model_fields:
            yield f"{group}.{field}", model, field


COUNT = "count"
"""Page name of the number of pictures per click on Generate, which is not part of a request."""
SIZE = "size"
"""Page name of the finished picture's size, which sets the sizes of all stages."""


def knob_path(path: str) -> str:
    """Return the path of the control for a path in a request; empty where the page has none.

    ``stages.1.easycache.threshold`` has its own control; ``loras.0.strength`` belongs to the control ``loras``.
    """
    stage_knobs = {name for name, _, _ in stage_fields()}
    first, _, rest = path.partition(".")
    number, _, name = rest.partition(".")
    if first == "stages" and name in stage_knobs:
        return f"stages.{number}.{name}"
    return first if first in (*REQUEST_FIELDS, COUNT, SIZE) else ""


def field_title(path: str) -> Text:
    """Return the title of the control of a request's field, at a path from ``knob_path``."""
    names = path.split(".")
    owner = STAGE_GROUPS[names[2]] if len(names) == 4 else Stage if len(names) == 3 else GenerationRequest
    return knob_of(owner, names[-1]).title


_OTHER_TITLES = {COUNT: "count", SIZE: "size_final", "preset": "presets"}
"""Keys of the titles of what is no request's field."""


def titled(error: StudioError) -> Text:
    """Return the error's sentence, with the title of the control instead of the field's path where there is one."""
    if not isinstance(error, RequestError):
        return error.text
    if error.field in _OTHER_TITLES:
        return after_title(WORDS[_OTHER_TITLES[error.field]], error.reason)
    name = knob_path(error.field)
    return after_title(field_title(name), error.reason) if name else error.text


def takes_word_or_number(model: type[BaseModel], field: str) -> bool:
    """Whether the field takes either a number or one of some words; the page has a text field for it."""
    return bool(words_of(model, field))


def words_of(model: type[BaseModel], field: str) -> list[str]:
    """Return the words that a field accepts besides a number."""
    members = get_args(model.model_fields[field].annotation)
    return [word for member in members if get_origin(member) is Literal for word in get_args(member)]


def page_stages(values: Mapping[str, Any]) -> list[Values]:
    """Return the values of each stage; raise RequestError unless there is a list of 1 to MAX_STAGES of them."""
    stages = values["stages"]
    well_formed = isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages)
    if not (well_formed and 1 <= len(stages) <= MAX_STAGES):
        raise RequestError(
            "stages", Text(f"must be a list of 1 to {MAX_STAGES} stages", f"必须是 1 到 {MAX_STAGES} 个阶段的列表")
        )
    return list(stages)


def request_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert page values to plain data for ``parse_request``, without checking them.

    Raises:
        RequestError: ``stages`` is no list of 1 to MAX_STAGES stages.
    """
    triggers = values["triggers"] or ""
    if isinstance(triggers, str):
        triggers = split_words(triggers)
    return {
        "prompt": _text_or_empty(values["prompt"]),
        "negative": _text_or_empty(values["negative"]),
        "triggers": triggers,
        "loras": _list_or_empty(values["loras"]),
        "seed": _seed(values["seed"]),
        "variation_strength": values.get("variation_strength") or 0.0,
        "variation_seed": _seed(values.get("variation_seed")),
        "stages": [stage_data(stage) for stage in page_stages(values)],
        "start": values.get("start") or None,
        "keep_stages": values.get("keep_stages") or False,
    }


def stage_data(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Convert one stage's page values to plain data; missing ones are left out, so that they get their defaults."""
    data: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {group: {} for group in STAGE_GROUPS if stage.get(group)}
    for name, model, field in stage_fields():
        group = name.rpartition(".")[0]
        into = groups.get(group) if group else data
        if name in stage and name not in STAGE_GROUPS and into is not None:
            into[field] = _plain(model, field, stage[name])
    return data | groups


def request_values(request: GenerationRequest, card: ModelCard) -> Values:
    """Convert a request to page values; the inverse of ``request_data``."""
    stages = card.stages if request.stages is None else request.stages
    request = request.typed
    return {
        "prompt": request.prompt,
        "negative": request.negative,
        "triggers": ", ".join(request.triggers),
        "loras": lora_values(request.loras),
        "seed": _shown_seed(request.seed),
        "variation_strength": request.variation_strength,
        "variation_seed": _shown_seed(request.variation_seed),
        "start": start_value(request.start),
        "keep_stages": request.keep_stages,
    } | stages_values(stages)


def lora_values(uses: Iterable[LoraUse]) -> list[Values]:
    """Convert LoRAs to the page's value ``loras``."""
    return [use.model_dump(mode="json", exclude_defaults=True) for use in uses]


def start_value(start: StartPicture | None) -> Values | None:
    """Convert a start picture to the page's value ``start``."""
    return None if start is None else start.model_dump(mode="json")


def stages_values(stages: Iterable[Stage]) -> Values:
    """Convert stages to the page's value ``stages``, in a dictionary."""
    return {"stages": [stage_values(stage) for stage in stages]}


def stage_values(stage: Stage) -> Values:
    """Convert one stage to page values; the inverse of ``stage_data``. A group that is off gets its defaults."""
    owners = {model: getattr(stage, group) or model() for group, model in STAGE_GROUPS.items()}
    values: Values = {}
    for name, model, field in stage_fields():
        value = getattr(owners.get(model, stage), field)
        values[name] = str(value) if takes_word_or_number(model, field) else value
    return values | {group: getattr(stage, group) is not None for group in STAGE_GROUPS}


def _seed(value: object) -> object:
    typed = _stripped(value)
    return "random" if typed in _RANDOM_SEED else _word_or_number(typed)


def _shown_seed(seed: int | str) -> str:
    return "" if seed == "random" else str(seed)


def _plain(model: type[BaseModel], field: str, value: object) -> object:
    if takes_word_or_number(model, field):
        return _word_or_number(_stripped(value))
    if isinstance(value, float) and value.is_integer() and model.model_fields[field].annotation is int:
        return int(value)
    return value


def _text_or_empty(value: object) -> object:
    """Return an empty text for the None of an emptied field."""
    return "" if value is None else value


def _list_or_empty(value: object) -> object:
    """Return an empty list for the None of an empty component."""
    return [] if value is None else value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else _text_or_empty(value)


def _word_or_number(value: object) -> object:
    """Convert a text that is a number, to int where possible; return everything else unchanged for the later check."""
    if not isinstance(value, str):
        return value
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
