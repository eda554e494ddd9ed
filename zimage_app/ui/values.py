"""What stands in the page's fields <-> a request. Knows field names, but no components.

A page value is named by its path in the request: ``prompt``, ``stages.0.width``, ``stages.0.easycache.threshold``;
``stages.0.easycache`` itself is the switch that says whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from zimage_app.domain.card import ModelCard
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import EasyCache, GenerationRequest, Stage, knob_of
from zimage_app.domain.text import Text
from zimage_app.domain.wildcards import split_words
from zimage_app.ui.i18n import WORDS

Values = dict[str, Any]

SAMPLER_OPTIONS = sorted(frozenset[str]().union(*(traits.options for traits in SAMPLER_TRAITS.values())))
"""Knobs that some samplers read and others don't."""
REQUEST_FIELDS = ("prompt", "negative", "triggers", "loras", "seed")
"""What concerns all stages."""
_RANDOM_SEED = ("", "-1")


def stage_fields(number: int) -> Iterator[tuple[str, type[BaseModel], str]]:
    """(page name, model, field) of every knob of stage ``number``, counted from 0."""
    for field in Stage.model_fields:
        yield f"stages.{number}.{field}", Stage, field
    for field in EasyCache.model_fields:
        yield f"stages.{number}.easycache.{field}", EasyCache, field


def field_names(tabs: int) -> tuple[str, ...]:
    """All page values of a page with so many stage tabs, in a fixed order."""
    return REQUEST_FIELDS + tuple(name for number in range(tabs) for name, _, _ in stage_fields(number))


def field_title(name: str) -> Text:
    """The title of the knob behind a page value's name."""
    path = name.split(".")
    models: dict[int, type[BaseModel]] = {1: GenerationRequest, 3: Stage, 4: EasyCache}
    return knob_of(models[len(path)], path[-1]).title


def takes_word_or_number(model: type[BaseModel], field: str) -> bool:
    """Whether the field is a union of words and a number, which the page asks for in one text field."""
    return any(get_origin(member) is Literal for member in get_args(model.model_fields[field].annotation))


def request_data(values: Mapping[str, Any], tabs: int) -> dict[str, Any]:
    """Page values as plain data for ``parse_request``, which alone judges them."""
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
        "stages": [stage_data(values, number) for number in range(tabs)],
    }


def stage_data(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One stage's page values as plain data."""
    stage: dict[str, Any] = {}
    easycache: dict[str, Any] = {}
    for name, model, field in stage_fields(number):
        into = stage if model is Stage else easycache
        into[field] = _plain(model, field, values[name])
    stage["easycache"] = easycache if values[f"stages.{number}.easycache"] else None
    return stage


def request_values(request: GenerationRequest, card: ModelCard, tabs: int) -> Values:
    """A request as page values; the inverse of ``request_data``.

    Raises:
        RequestError: the request has more stages than the page has tabs.
    """
    stages = card.stages if request.stages is None else request.stages
    request = request.typed
    return {
        "prompt": request.prompt,
        "negative": request.negative,
        "triggers": ", ".join(request.triggers),
        "loras": [use.model_dump(mode="json", exclude_defaults=True) for use in request.loras],
        "seed": "" if request.seed == "random" else str(request.seed),
    } | stages_values(stages, tabs)


def stages_values(stages: tuple[Stage, ...], tabs: int) -> Values:
    """Stages as page values. Tabs that are left over are switched off, which is the same as not being there."""
    if len(stages) > tabs:
        text = WORDS["too_many_stages"]
        numbers = {"stages": len(stages), "tabs": tabs}
        raise RequestError("stages", Text(text.en.format(**numbers), text.zh.format(**numbers)))
    padded = stages + (Stage(enabled=False),) * (tabs - len(stages))
    values: Values = {}
    for number, stage in enumerate(padded):
        easycache = stage.easycache or EasyCache()
        for name, model, field in stage_fields(number):
            value = getattr(stage if model is Stage else easycache, field)
            values[name] = str(value) if takes_word_or_number(model, field) else value
        values[f"stages.{number}.easycache"] = stage.easycache is not None
    return values


def switched_knobs(number: int) -> tuple[str, ...]:
    """The knobs of stage ``number`` that its sampler or its EasyCache switch may leave without effect."""
    easycache = (f"easycache.{name}" for name in EasyCache.model_fields)
    return tuple(f"stages.{number}.{name}" for name in (*SAMPLER_OPTIONS, *easycache))


def in_effect(values: Mapping[str, Any], number: int) -> dict[str, bool]:
    """Whether each of the ``switched_knobs`` has an effect."""
    traits = SAMPLER_TRAITS.get(values[f"stages.{number}.sampler"])
    effects = {}
    for name in switched_knobs(number):
        if ".easycache." in name:
            effects[name] = bool(values[f"stages.{number}.easycache"])
        else:
            # A sampler that isn't in the table is for the request's check to refuse; it takes nothing away.
            effects[name] = traits is None or name.rpartition(".")[2] in traits.options
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
