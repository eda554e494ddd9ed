"""Stages as a list that is edited: which stage comes after the last, and where LoRAs act when stages change places.

Knows no page: an edit is the tuple of the old places (from 0) that the new stages come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import MAX_STAGES, LoraUse, Stage
from zimage_app.domain.text import Text

Edit = Literal["add", "duplicate", "left", "right", "remove"]
EDITS: tuple[str, ...] = get_args(Edit)
Places = tuple[int, ...]

_LEAST_PIXELS = 64
_MAX_PIXELS = 2048
_STEP = 16
_ENLARGEMENTS = (2.0, 1.5)
_REDRAWN = 0.6
"""Denoise of a stage that follows one which draws the whole picture."""


def places_after(edit: Edit, stage: int, count: int) -> Places:
    """Where the stages come from after an edit of ``stage`` (from 0) of ``count``.

    Raises:
        RequestError: there would be no stage or too many; a move beyond either end leaves all where they are.
    """
    places = list(range(count))
    if edit in ("add", "duplicate") and count >= MAX_STAGES:
        raise RequestError("stages", Text(f"at most {MAX_STAGES} are possible", f"最多 {MAX_STAGES} 个"))
    if edit == "remove" and count == 1:
        raise RequestError("stages", Text("at least one must remain", "至少保留一个"))
    match edit:
        case "add":
            places.append(count - 1)
        case "duplicate":
            places.insert(stage, stage)
        case "remove":
            del places[stage]
        case _:
            other = stage + (-1 if edit == "left" else 1)
            if 0 <= other < count:
                places[stage], places[other] = other, stage
    return tuple(places)


def following(last: Stage) -> Stage:
    """The stage that suits after ``last``: like it, on a larger picture where there is room, and redrawing part of it.

    A seed of its own is left to the base seed, because the same noise twice makes the picture grainy.
    """
    factor = next((each for each in _ENLARGEMENTS if max(last.width, last.height) * each <= _MAX_PIXELS), 1.0)
    size = {name: int(getattr(last, name) * factor) // _STEP * _STEP for name in ("width", "height")}
    denoise = last.denoise if last.denoise < 1.0 else _REDRAWN
    return last.model_copy(update={**size, "denoise": denoise, "seed": "follow", "enabled": True})


def shaped(stage: Stage, width: int, height: int) -> tuple[int, int]:
    """Width and height of a stage in the proportions of a canvas, with about as many pixels as it has."""
    factor = math.sqrt(stage.width * stage.height / (width * height))
    sides = (round(side * factor / _STEP) * _STEP for side in (width, height))
    across, along = (min(max(side, _LEAST_PIXELS), _MAX_PIXELS) for side in sides)
    return across, along


def renumbered(uses: Iterable[LoraUse], places: Sequence[int]) -> tuple[tuple[LoraUse, ...], tuple[Text, ...]]:
    """LoRAs whose stages have moved to ``places``: each acts in the same stages as before, and in their copies.

    One that acted in removed stages only is switched off, which a sentence says.
    """
    kept: list[LoraUse] = []
    said: list[Text] = []
    for use in uses:
        if use.stages is None:
            kept.append(use)
            continue
        stages = tuple(new + 1 for new, old in enumerate(places) if old + 1 in use.stages)
        if stages:
            kept.append(use.model_copy(update={"stages": stages}))
            continue
        kept.append(use.model_copy(update={"stages": None, "strength": 0.0}))
        if use.strength:
            said.append(
                Text(
                    f"LoRA {use.name} acted in the removed stage only; it is switched off (strength 0).",
                    f"LoRA {use.name} 只作用于被删除的阶段，已将其关闭（强度 0）。",
                )
            )
    return tuple(kept), tuple(said)
