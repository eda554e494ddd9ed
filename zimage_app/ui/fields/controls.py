"""Turns a field's declaration into the data with which the page draws its control. Independent of page and events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel

from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS, STAGE_OPTIONS
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import MAX_STAGES, STAGE_GROUPS, Stage
from zimage_app.ui.fields.layout import GROUPS, SECTIONS
from zimage_app.ui.fields.values import takes_word_or_number, words_of
from zimage_app.ui.http import Data
from zimage_app.ui.words.i18n import knob_key

CHOICES: dict[str, tuple[str, ...]] = {
    "sampler": tuple(SAMPLER_TRAITS),
    "scheduler": tuple(SCHEDULERS),
    "handover": tuple(HANDOVER_TRAITS),
}
"""Choices of the fields that are declared as plain text but must be keys of a table."""


def element_id(name: str) -> str:
    """Return the HTML id of the control called ``name``."""
    return f"knob-{name.replace('.', '-')}"


def stage_form() -> Data:
    """Return what the page's script needs to draw a stage: its controls by section, and when the optional ones apply.

    The fields in ``options`` only have an effect where ``reads`` lists them for the chosen sampler or hand-over rule.
    """
    return {
        "most": MAX_STAGES,
        "sections": {name: list(_section(fields)) for name, fields in SECTIONS.items()},
        "options": sorted(STAGE_OPTIONS),
        "reads": {
            "sampler": {name: sorted(traits.options) for name, traits in SAMPLER_TRAITS.items()},
            "handover": {name: sorted(traits.options) for name, traits in HANDOVER_TRAITS.items()},
        },
    }


def _section(fields: Iterable[str]) -> Iterator[Data]:
    for field in fields:
        knob = knob_data(Stage, field, field)
        if field in STAGE_GROUPS:
            model = STAGE_GROUPS[field]
            knob["group"] = [knob_data(model, each, f"{field}.{each}") for each in GROUPS[field]]
        yield knob


def knob_data(model: type[BaseModel], field: str, name: str) -> Data:
    """Return a control's ``name`` in the stage's values, the keys of its title and help, its ``kind`` and limits."""
    words = {"title": knob_key(model, field, "title"), "help": knob_key(model, field, "help")}
    common: Data = {"name": name, **words}
    if _is_switch(model, field):
        return common | {"kind": "switch"}
    choices = _choices(model, field)
    if choices:
        return common | {"kind": "choice", "choices": list(choices)}
    if takes_word_or_number(model, field):
        return common | {"kind": "text", "words": words_of(model, field)}
    low, high, step = bounds(model, field)
    return common | {"kind": "number", "low": low, "high": high, "step": step}


def bounds(model: type[BaseModel], field: str) -> tuple[float, float, float]:
    """Return lowest value, highest value and step of a number's slider.

    Raises:
        ValueError: the field has no step or no bounds.
    """
    knob = knob_of(model, field)
    if knob.step is None:
        raise ValueError(f"{model.__name__}.{field} is a number without a step")
    low = high = None
    for rule in model.model_fields[field].metadata:
        if isinstance(rule, Ge):
            low = rule.ge
        elif isinstance(rule, Gt):
            low = float(str(rule.gt)) + knob.step
        elif isinstance(rule, Le):
            high = rule.le
    if low is None or high is None:
        raise ValueError(f"{model.__name__}.{field} is a number without bounds")
    return float(str(low)), float(str(knob.slider_max or high)), knob.step


def _is_switch(model: type[BaseModel], field: str) -> bool:
    annotation = model.model_fields[field].annotation
    members = get_args(annotation)
    return annotation is bool or any(isinstance(member, type) and issubclass(member, BaseModel) for member in members)


def _choices(model: type[BaseModel], field: str) -> tuple[str, ...]:
    annotation = model.model_fields[field].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else CHOICES.get(field, ())
