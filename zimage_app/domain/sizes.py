"""The picture's size as one setting: the last stage has that size, and earlier stages follow in proportion."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from zimage_app.domain.errors import wrong_field
from zimage_app.domain.settings.stage import MAX_SIDE, REFERENCE_STAGES, Stage, parse_stage

GRID = 16
"""Every side is a multiple of this many pixels."""
MIN_SIDE = 64
_SIZE = re.compile(r"([0-9]{1,5})\s*[xX×*]\s*([0-9]{1,5})")
_RATIO = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,4})?)\s*[:：]\s*([0-9]{1,5}(?:\.[0-9]{1,4})?)")


def sized(stages: Sequence[Stage], width: int, height: int) -> tuple[Stage, ...]:
    """The stages for a picture of this size: the last one that is on gets it exactly, the others keep their share.

    A stage's share is sqrt(its pixels / the last stage's pixels). All stages get the picture's proportions as nearly as
    the grid allows. 672 x 864 gives the reference workflow's sizes.
    """
    last = _size(final_stage(stages))
    return tuple(
        stage.model_copy(update=dict(zip(("width", "height"), _share(stage, last, width, height), strict=True)))
        for stage in stages
    )


def sized_data(stages: Sequence[Mapping[str, Any]], size: str) -> list[dict[str, Any]]:
    """Stages as plain data, resized to the size in the text ``size``; raises RequestError as ``size_from`` does."""
    parsed = [parse_stage(stage) for stage in stages]
    return [stage.model_dump(mode="json") for stage in sized(parsed, *size_from(size, parsed))]


def size_from(text: str, stages: Sequence[Stage]) -> tuple[int, int]:
    """Parse a size as in ``672x864``, or a ratio as in ``3:4``, into (width, height) in pixels.

    A ratio keeps the number of pixels of the last stage, as nearly as the grid allows.

    Raises:
        RequestError: for ``size``: the text is neither, or a side is off the grid or out of bounds.
    """
    if found := _SIZE.fullmatch(text.strip()):
        width, height = int(found[1]), int(found[2])
    elif (found := _RATIO.fullmatch(text.strip())) and float(found[1]) and float(found[2]):
        last = final_stage(stages)
        factor = math.sqrt(last.width * last.height / (float(found[1]) * float(found[2])))
        width, height = (_on_grid(float(part) * factor) for part in found.groups())
    else:
        raise wrong_field(
            "size",
            f"{text}: write WIDTHxHEIGHT as in 672x864, or a ratio as in 3:4",
            f"{text}：请写成 宽x高（如 672x864）或比例（如 3:4）",
        )
    for side in (width, height):
        _check_side(text, side)
    return width, height


def with_sizes(stages: Sequence[Any], size: str) -> list[Any]:
    """Stages as plain data, with a size filled in where they give none.

    The last three get the reference workflow's shares of the picture's size, as in 672x864, 336x432, 176x224; each
    earlier one gets half of the next. Items that are not mappings are left for the request's validation. Raises
    RequestError as ``size_from`` does.
    """
    width, height = size_from(size, REFERENCE_STAGES)
    on = [place for place, stage in enumerate(stages) if not isinstance(stage, Mapping) or stage.get("enabled", True)]
    last = on[-1] if on else len(stages) - 1
    sides = [_following(max(0, last - place), width, height) for place in range(len(stages))]
    return [
        {"width": across, "height": along} | dict(stage) if isinstance(stage, Mapping) else stage
        for stage, (across, along) in zip(stages, sides, strict=True)
    ]


def _following(place: int, width: int, height: int) -> tuple[int, int]:
    """The size of the stage that is ``place`` places before the last, for a picture of ``width`` x ``height``."""
    known = min(place, len(REFERENCE_STAGES) - 1)
    stage = REFERENCE_STAGES[-1 - known]
    return _share(stage, _size(REFERENCE_STAGES[-1]), width, height, 2.0 ** (known - place))


def same_shape(one: Stage, other: Stage) -> bool:
    """Whether the sides of one are those of the other enlarged or reduced, as nearly as the grid allows."""
    scale = math.sqrt(one.width * one.height / (other.width * other.height))
    off = (abs(one.width - other.width * scale), abs(one.height - other.height * scale))
    return max(off) <= 0.75 * GRID * max(1.0, scale)


def final_stage(stages: Sequence[Stage]) -> Stage:
    """The stage that gives the picture: the last one that is on."""
    return next((stage for stage in reversed(stages) if stage.enabled), stages[-1])


def shaped(stage: Stage, width: int, height: int) -> tuple[int, int]:
    """(width, height) of a stage in the proportions of ``width`` x ``height``, with about its number of pixels."""
    return _share(stage, (width, height), width, height)


def _size(stage: Stage) -> tuple[int, int]:
    return stage.width, stage.height


def _share(stage: Stage, last: tuple[int, int], width: int, height: int, times: float = 1.0) -> tuple[int, int]:
    if _size(stage) == last:
        return width, height
    share = times * math.sqrt(stage.width * stage.height / math.prod(last))
    return (
        min(max(_on_grid(width * share), MIN_SIDE), MAX_SIDE),
        min(max(_on_grid(height * share), MIN_SIDE), MAX_SIDE),
    )


def _on_grid(side: float) -> int:
    return round(side / GRID) * GRID


def _check_side(text: str, side: int) -> None:
    if not MIN_SIDE <= side <= MAX_SIDE:
        raise wrong_field(
            "size",
            f"{text}: comes to a side of {side}; allowed are {MIN_SIDE} to {MAX_SIDE} pixels",
            f"{text}：边长为 {side}；允许 {MIN_SIDE} 到 {MAX_SIDE} 像素",
        )
    if side % GRID:
        below = side // GRID * GRID
        raise wrong_field(
            "size",
            f"{text}: {side} is not a multiple of {GRID}; use {below} or {below + GRID}",
            f"{text}：{side} 不是 {GRID} 的倍数；可用 {below} 或 {below + GRID}",
        )
