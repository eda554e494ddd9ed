"""What stands in the page's fields <-> a request. Knows field names, but no components.

A page value is named by its path in the request: ``prompt``, ``stages.0.width``, ``stages.0.easycache.threshold``;
``stages.0.easycache`` itself is the switch that says whether there is one, and so for every group of a stage
(``STAGE_GROUPS``). ``stages`` is how many of the page's stage
tabs are in use; what the others hold counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from zimage_app.domain.card import ModelCard
from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS, STAGE_OPTIONS, unread_options
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import (
    MAX_STAGES,
    STAGE_GROUPS,
    GenerationRequest,
    LoraUse,
    Stage,
    StartPicture,
    knob_of,
)
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import split_words

Values = dict[str, Any]

REQUEST_FIELDS = ("prompt", "negative", "triggers", "loras", "seed", "stages", "start", "keep_stages")
"""What concerns all stages."""
_RANDOM_SEED = ("", "-1")


def stage_fields(number: int) -> Iterator[tuple[str, type[BaseModel], str]]:
    """(page name, model, field) of every knob of stage ``number``, counted from 0."""
    for field in Stage.model_fields:
        yield f"stages.{number}.{field}", Stage, field
    for group, model in STAGE_GROUPS.items():
        for field in model.model_fields:
            yield f"stages.{number}.{group}.{field}", model, field


def field_names() -> tuple[str, ...]:
    """All page values, in a fixed order: there is a tab for every stage that a request may have."""
    return REQUEST_FIELDS + tuple(name for number in range(MAX_STAGES) for name, _, _ in stage_fields(number))


def field_title(name: str) -> Text:
    """The title of the knob behind a page value's name."""
    path = name.split(".")
    owner = STAGE_GROUPS[path[2]] if len(path) == 4 else Stage if len(path) == 3 else GenerationRequest
    return knob_of(owner, path[-1]).title


def takes_word_or_number(model: type[BaseModel], field: str) -> bool:
    """Whether the field is a union of words and a number, which the page asks for in one text field."""
    return any(get_origin(member) is Literal for member in get_args(model.model_fields[field].annotation))


def stage_count(values: Mapping[str, Any]) -> int:
    """How many stage tabs are in use; raises RequestError where that is no number of stages."""
    count = values["stages"]
    if isinstance(count, bool) or count not in range(1, MAX_STAGES + 1):
        raise RequestError(
            "stages",
            Text(
                f"{count!r} must be a whole number from 1 to {MAX_STAGES}",
                f"{count!r} 必须是 1 到 {MAX_STAGES} 的整数",
            ),
        )
    return int(count)


def request_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Page values as plain data for ``parse_request``, which alone judges them.

    Raises:
        RequestError: ``stages`` is no number of stages.
    """
    seed = _stripped(values["seed"])
    triggers = values["triggers"] or ""
    if isinstance(triggers, str):
        triggers = split_words(triggers)
    return {
        "prompt": _filled(values["prompt"]),
        "negative": _filled(values["negative"]),
        "triggers": triggers,
        "loras": _filled_list(values["loras"]),
        "seed": "random" if seed in _RANDOM_SEED else _word_or_number(seed),
        "stages": [stage_data(values, number) for number in range(stage_count(values))],
        "start": values.get("start") or None,
        "keep_stages": values.get("keep_stages") or False,
    }


def stage_data(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One stage's page values as plain data."""
    prefix = f"stages.{number}"
    stage = {
        field: _plain(Stage, field, values[f"{prefix}.{field}"])
        for field in Stage.model_fields
        if field not in STAGE_GROUPS
    }
    for group, model in STAGE_GROUPS.items():
        settings = {field: _plain(model, field, values[f"{prefix}.{group}.{field}"]) for field in model.model_fields}
        stage[group] = settings if values[f"{prefix}.{group}"] else None
    return stage


def request_values(request: GenerationRequest, card: ModelCard) -> Values:
    """A request as page values; the inverse of ``request_data``."""
    stages = card.stages if request.stages is None else request.stages
    request = request.typed
    return {
        "prompt": request.prompt,
        "negative": request.negative,
        "triggers": ", ".join(request.triggers),
        "loras": lora_values(request.loras),
        "seed": "" if request.seed == "random" else str(request.seed),
        "start": start_value(request.start),
        "keep_stages": request.keep_stages,
    } | stages_values(stages)


def lora_values(uses: Iterable[LoraUse]) -> list[Values]:
    """LoRAs as the page's list of them."""
    return [use.model_dump(mode="json", exclude_defaults=True) for use in uses]


def start_value(start: StartPicture | None) -> Values | None:
    """A start picture as the page keeps it."""
    return None if start is None else start.model_dump(mode="json")


def stages_values(stages: tuple[Stage, ...]) -> Values:
    """Stages as page values: those of their tabs, and how many there are."""
    values: Values = {"stages": len(stages)}
    for number, stage in enumerate(stages):
        groups = {model: getattr(stage, group) or model() for group, model in STAGE_GROUPS.items()}
        for name, model, field in stage_fields(number):
            value = getattr(groups.get(model, stage), field)
            values[name] = str(value) if takes_word_or_number(model, field) else value
        values |= {f"stages.{number}.{group}": getattr(stage, group) is not None for group in STAGE_GROUPS}
    return values


def all_stages_values(stages: tuple[Stage, ...]) -> Values:
    """The page values of all tabs, those that are not in use included."""
    spare = (Stage(),) * (MAX_STAGES - len(stages))
    return stages_values(stages + spare) | {"stages": len(stages)}


def switches(number: int) -> tuple[str, ...]:
    """The knobs of stage ``number`` that may leave others without effect: its rules, and each group's switch."""
    return tuple(f"stages.{number}.{name}" for name in ("sampler", "handover", *STAGE_GROUPS))


def switched_knobs(number: int) -> tuple[str, ...]:
    """The knobs of stage ``number`` that its switches may leave without effect."""
    grouped = (name for name, model, _ in stage_fields(number) if model is not Stage)
    return (*(f"stages.{number}.{name}" for name in sorted(STAGE_OPTIONS)), *grouped)


def in_effect(values: Mapping[str, Any], number: int) -> dict[str, bool]:
    """Whether each of the ``switched_knobs`` has an effect."""
    prefix = f"stages.{number}."
    sampler, handover = values[f"{prefix}sampler"], values[f"{prefix}handover"]
    # A name that isn't in the tables is for the request's check to refuse; it takes nothing away.
    known = sampler in SAMPLER_TRAITS and handover in HANDOVER_TRAITS
    unread = unread_options(sampler, handover) if known else frozenset()
    if number == 0:  # it takes nothing over, whatever its rule
        unread -= {"denoise"}
    effects = {}
    for name in switched_knobs(number):
        group, _, field = name.removeprefix(prefix).rpartition(".")
        effects[name] = bool(values[f"{prefix}{group}"]) if group else field not in unread
    return effects


def _plain(model: type[BaseModel], field: str, value: object) -> object:
    if takes_word_or_number(model, field):
        return _word_or_number(_stripped(value))
    if isinstance(value, float) and value.is_integer() and model.model_fields[field].annotation is int:
        return int(value)
    return value


def _filled(value: object) -> object:
    """An emptied field's None as the empty text that it shows."""
    return "" if value is None else value


def _filled_list(value: object) -> object:
    """An empty component's None as the empty list that it shows."""
    return [] if value is None else value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else _filled(value)


def _word_or_number(value: object) -> object:
    """A number where the text is written as one, exactly; else what it is, for the check to judge."""
    if not isinstance(value, str):
        return value
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
