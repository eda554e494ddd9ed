"""Adds, copies, moves, removes and resizes stages, as page values. Independent of Gradio components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import parse_request
from zimage_app.domain.settings.stage import parse_stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.sizes import shaped, size_from, sized
from zimage_app.domain.stage_edits import EDITS, Edit, Places, following, places_after, renumbered
from zimage_app.domain.text import Text
from zimage_app.ui.fields.values import Values, lora_values, page_stages, stage_data, stage_values, start_value


def edited(values: Mapping[str, Any], edit: str, stage: object) -> tuple[Values, tuple[Text, ...]]:
    """Return the page values that an edit of ``stage`` (from 0) changes, and remarks for the user.

    A stage's values move with it without a check, even half-typed ones.

    Raises:
        RequestError: there is no such edit or stage, no stage or too many would result, or LoRAs, start picture or (for
            ``add``) the last stage are not valid.
    """
    stages = page_stages(values)
    if edit not in EDITS or not isinstance(stage, int) or stage not in range(len(stages)):
        raise RequestError("stages", Text(f"{edit!r} of {stage!r} is not possible", f"无法对 {stage!r} 执行 {edit!r}"))
    places = places_after(cast(Edit, edit), stage, len(stages))
    changed = [dict(stages[place]) for place in places]
    if edit == "add":
        changed[-1] = stage_values(following(parse_stage(stage_data(stages[-1]))))
    chosen = parse_request({"prompt": "-", "loras": values["loras"] or [], "start": values.get("start") or None})
    loras, said = renumbered(chosen.loras, places)
    start = start_value(_moved_start(chosen.start, places))
    return {"stages": changed, "loras": lora_values(loras), "start": start}, said


def with_proportions(values: Mapping[str, Any], width: object, height: object) -> Values:
    """Return the stages with sizes in the proportions ``width`` to ``height``.

    Raises:
        RequestError: ``width`` or ``height`` is no positive whole number, or a stage's settings are not valid.
    """
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise RequestError("stages", Text(f"{width!r} x {height!r} is no size", f"{width!r} × {height!r} 不是尺寸"))
    stages = []
    for stage in page_stages(values):
        across, along = shaped(parse_stage(stage_data(stage)), width, height)
        stages.append(stage | {"width": across, "height": along})
    return {"stages": stages}


def resized(values: Mapping[str, Any], size: object, base: object) -> Values:
    """Return the stages with sizes for a picture of ``size``, such as ``672x864`` or ``3:4``.

    The ratios between the stages' sizes are taken from ``base``, a list of (width, height) per stage; from the present
    sizes where ``base`` has another length.

    Raises:
        RequestError: ``size`` is no size, or a stage's settings are not valid.
    """
    stages = page_stages(values)
    sizes = base if isinstance(base, list) and len(base) == len(stages) else [None] * len(stages)
    shares = [
        parse_stage(stage_data(stage | (dict(zip(_SIDES, sides, strict=False)) if isinstance(sides, list) else {})))
        for stage, sides in zip(stages, sizes, strict=True)
    ]
    changed = sized(shares, *size_from(str(size), shares))
    return {"stages": [stage | new.model_dump(include=set(_SIDES)) for stage, new in zip(stages, changed, strict=True)]}


_SIDES = ("width", "height")


def _moved_start(start: StartPicture | None, places: Places) -> StartPicture | None:
    """Return the start picture with its stage's new number; of a removed stage, with the stage now in that position."""
    if start is None:
        return None
    old = start.stage - 1
    new = places.index(old) if old in places else min(old, len(places) - 1)
    return start.model_copy(update={"stage": new + 1})
