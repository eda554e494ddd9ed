"""Which knob of a stage stands where on the page. Knows no components and no words."""

from __future__ import annotations

from pydantic import BaseModel

from zimage_app.domain.request import STAGE_GROUPS, Stage

STAGE_SWITCH = ("enabled",)
STAGE_BASIC = ("width", "height", "steps", "cfg", "denoise", "shift", "sampler", "scheduler")
STAGE_ADVANCED = ("seed", "handover", "upscale", "delta", "eta", "s_noise", "r", "solver_type")
STAGE_CFG_RANGE = ("cfg_start", "cfg_end")
EASYCACHE_SWITCH = ("easycache",)
GUIDANCE_SWITCHES = ("nag", "negpip", "variance", "cfg_limit")
"""Each with the knobs of its group below it."""
GROUPS: dict[str, tuple[str, ...]] = {
    "easycache": ("threshold", "start", "end", "window_shift"),
    "nag": ("scale", "tau", "alpha", "sigma_start", "sigma_end", "rows", "lengths"),
    "negpip": ("weight",),
    "variance": ("strength", "share", "end", "noise"),
    "cfg_limit": ("most", "of"),
}

PLACES: dict[type[BaseModel], tuple[str, ...]] = {
    Stage: STAGE_SWITCH + STAGE_BASIC + STAGE_ADVANCED + STAGE_CFG_RANGE + EASYCACHE_SWITCH + GUIDANCE_SWITCHES,
    **{STAGE_GROUPS[group]: fields for group, fields in GROUPS.items()},
}


def misplaced(model: type[BaseModel], places: tuple[str, ...]) -> set[str]:
    """The fields of ``model`` that have no place or more than one, and places without a field."""
    fields = set(model.model_fields)
    return fields.symmetric_difference(places) | {name for name in places if places.count(name) > 1}


def stage_word(position: int, stages: int) -> str:
    """The name (a key of the page's words) of stage ``position``, from 0, of a run of ``stages``."""
    if position == stages - 1:
        return "stage_final"
    return "stage_draft" if position == 0 else "stage_refine"
