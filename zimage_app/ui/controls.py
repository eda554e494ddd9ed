"""A knob -> the component that sets it; everything about it comes from the field. Knows no page and no events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from annotated_types import Ge, Gt, Le
from gradio.components import Component
from pydantic import BaseModel

from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS
from zimage_app.domain.request import knob_of
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.ui.i18n import knob_key
from zimage_app.ui.values import takes_word_or_number

CHOICES: dict[str, tuple[str, ...]] = {
    "sampler": tuple(SAMPLER_TRAITS),
    "scheduler": tuple(SCHEDULERS),
    "handover": tuple(HANDOVER_TRAITS),
}
"""The choices of fields whose type is plain text checked against a table."""

_WIDTH = 140
"""Least width in pixels; two stand side by side in the controls column."""


def element_id(name: str) -> str:
    """The id in the page of the control called ``name``."""
    return f"knob-{name.replace('.', '-')}"


def control(model: type[BaseModel], field: str, name: str, value: Any, words: gr.I18n) -> Component:
    """The component for one field, showing ``value``, labelled in both languages."""
    common: dict[str, Any] = {
        "label": words(knob_key(model, field, "title")),
        "elem_id": element_id(name),
        "min_width": _WIDTH,
        "info": words(knob_key(model, field, "help")),
    }
    if _is_switch(model, field):
        return gr.Checkbox(bool(value), container=False, **common)
    choices = _choices(model, field)
    if choices:
        return gr.Dropdown(choices, value=value, **common)
    if takes_word_or_number(model, field):
        return gr.Textbox(str(value), max_lines=1, **common)
    low, high, step = bounds(model, field)
    return gr.Slider(low, high, value=value, step=step, buttons=[], **common)


def bounds(model: type[BaseModel], field: str) -> tuple[float, float, float]:
    """Lowest value, highest value and step of a number's slider."""
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


def shown(component: Component, value: object) -> dict[str, Any]:
    """The update that shows ``value``; a slider grows where the value is allowed but lies beyond its ends."""
    if isinstance(component, gr.Slider) and isinstance(value, int | float):
        low, high = min(value, component.minimum), max(value, component.maximum)
        return gr.update(value=value, minimum=low, maximum=high)
    return gr.update(value=value)


def _is_switch(model: type[BaseModel], field: str) -> bool:
    annotation = model.model_fields[field].annotation
    members = get_args(annotation)
    return annotation is bool or any(isinstance(member, type) and issubclass(member, BaseModel) for member in members)


def _choices(model: type[BaseModel], field: str) -> tuple[str, ...]:
    annotation = model.model_fields[field].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else CHOICES.get(field, ())


def fill(components: Mapping[str, Component], values: Mapping[str, object]) -> dict[Component, Any]:
    """Updates for the fields that ``values`` names."""
    return {components[name]: shown(components[name], value) for name, value in values.items()}
