"""Adding, copying, moving and removing stage tabs: page values in, page values out. Knows no components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import StartPicture, parse_request, parse_stage
from zimage_app.domain.stages import EDITS, Edit, Places, following, places_after, renumbered, shaped
from zimage_app.domain.text import Text
from zimage_app.ui.values import Values, lora_values, stage_count, stage_data, stage_fields, stages_values, start_value


def edited(values: Mapping[str, Any], edit: str, stage: object) -> tuple[Values, tuple[Text, ...]]:
    """The page values that an edit of ``stage`` (from 0) changes, and what the user should know of it.

    What stands in a stage's fields moves with it, half-typed or not.

    Raises:
        RequestError: there would be no stage or too many, no such edit or stage, or what it needs is not valid.
    """
    count = stage_count(values)
    if edit not in EDITS or not isinstance(stage, int) or stage not in range(count):
        raise RequestError("stages", Text(f"{edit!r} of {stage!r} is not possible", f"无法对 {stage!r} 执行 {edit!r}"))
    places = places_after(cast(Edit, edit), stage, count)
    changed: Values = {"stages": len(places)}
    for new, old in enumerate(places):
        if new != old:
            changed |= _moved(values, old, new)
    if edit == "add":
        added = following(parse_stage(stage_data(values, count - 1)))
        changed |= _moved(stages_values((added,)), 0, count)
    chosen = parse_request({"prompt": "-", "loras": values["loras"] or [], "start": values.get("start") or None})
    loras, said = renumbered(chosen.loras, places)
    return changed | {"loras": lora_values(loras), "start": start_value(_moved_start(chosen.start, places))}, said


def in_shape(values: Mapping[str, Any], width: object, height: object) -> Values:
    """The sizes that give all stages the proportions of a canvas.

    Raises:
        RequestError: these are no sides, or a stage's settings are not valid.
    """
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise RequestError("stages", Text(f"{width!r} x {height!r} is no size", f"{width!r} × {height!r} 不是尺寸"))
    changed: Values = {}
    for number in range(stage_count(values)):
        sides = shaped(parse_stage(stage_data(values, number)), width, height)
        changed |= {f"stages.{number}.{name}": side for name, side in zip(("width", "height"), sides, strict=True)}
    return changed


def _moved(values: Mapping[str, Any], old: int, new: int) -> Values:
    pairs = zip(stage_fields(old), stage_fields(new), strict=True)
    return {name: values[source] for (source, _, _), (name, _, _) in pairs}


def _moved_start(start: StartPicture | None, places: Places) -> StartPicture | None:
    """The start picture at the stage where it was; where that is removed, at the one that comes in its place."""
    if start is None:
        return None
    old = start.stage - 1
    new = places.index(old) if old in places else min(old, len(places) - 1)
    return start.model_copy(update={"stage": new + 1})
