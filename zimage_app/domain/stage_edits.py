"""Edits of the list of stages: settings for an added stage, and the LoRAs' stage numbers after stages moved.

The result of an edit is a tuple that gives, for each new stage, the old position (from 0) it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from zimage_app.domain.errors import RequestError
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import MAX_SIDE, MAX_STAGES, Stage
from zimage_app.domain.sizes import GRID
from zimage_app.domain.text import Text

Edit = Literal["add", "duplicate", "left", "right", "remove"]
EDITS: tuple[str, ...] = get_args(Edit)
Places = tuple[int, ...]

_ENLARGEMENTS = (2.0, 1.5)
_REDRAWN = 0.6
"""Denoise of a stage that is added after one with denoise 1."""


def places_after(edit: Edit, stage: int, count: int) -> Places:
    """The old position of each new stage, after ``edit`` of ``stage`` (from 0) out of ``count`` stages.

    A move beyond either end changes nothing.

    Raises:
        RequestError: no stage would be left, or there would be too many.
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
    """Settings for a stage added after ``last``: the same, but larger where there is room, and with denoise below 1.

    Its seed follows the base seed, because the same noise twice makes the picture grainy.
    """
    factor = next((each for each in _ENLARGEMENTS if max(last.width, last.height) * each <= MAX_SIDE), 1.0)
    size = {name: int(getattr(last, name) * factor) // GRID * GRID for name in ("width", "height")}
    denoise = last.denoise if last.denoise < 1.0 else _REDRAWN
    return last.model_copy(update={**size, "denoise": denoise, "seed": "follow", "enabled": True})


def renumbered(uses: Iterable[LoraUse], places: Sequence[int]) -> tuple[tuple[LoraUse, ...], tuple[Text, ...]]:
    """Renumber the LoRAs' stages after an edit, so that each acts in the same stages as before and in their copies.

    A LoRA that acted in removed stages only is switched off. Returns the LoRAs and a message for each that was.
    """
    kept: list[LoraUse] = []
    warnings: list[Text] = []
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
            warnings.append(
                Text(
                    f"LoRA {use.name} acted in the removed stage only; it is switched off (strength 0).",
                    f"LoRA {use.name} 只作用于被删除的阶段，已将其关闭（强度 0）。",
                )
            )
    return tuple(kept), tuple(warnings)
