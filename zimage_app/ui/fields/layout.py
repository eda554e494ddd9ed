"""The order of a stage's controls on the page, by section. Independent of Gradio components and texts."""

from __future__ import annotations

from pydantic import BaseModel

from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage

SECTIONS: dict[str, tuple[str, ...]] = {
    "basic": (
        "enabled",
        "width",
        "height",
        "steps",
        "cfg",
        "denoise",
        "shift",
        "sampler",
        "scheduler",
        "easycache",
    ),
    "advanced": ("seed", "handover", "upscale", "delta", "eta", "s_noise", "r", "solver_type"),
    "guidance": ("nag", "negpip", "variance", "cfg_limit", "cfg_start", "cfg_end"),
}
"""Fields of each section. The first section is always visible; the others can be opened."""
GROUPS: dict[str, tuple[str, ...]] = {
    "easycache": ("threshold", "start", "end", "window_shift"),
    "nag": ("scale", "tau", "alpha", "sigma_start", "sigma_end", "rows", "lengths"),
    "negpip": ("weight",),
    "variance": ("strength", "share", "end", "noise"),
    "cfg_limit": ("most", "of"),
}
"""Fields below the switch of each settings group of a stage."""

FIELD_ORDER: dict[type[BaseModel], tuple[str, ...]] = {
    Stage: tuple(field for fields in SECTIONS.values() for field in fields),
    **{STAGE_GROUPS[group]: fields for group, fields in GROUPS.items()},
}


def layout_errors(model: type[BaseModel], order: tuple[str, ...]) -> set[str]:
    """Return the fields of ``model`` that ``order`` lacks or has twice, and names in it that are no fields."""
    fields = set(model.model_fields)
    return fields.symmetric_difference(order) | {name for name in order if order.count(name) > 1}


def stage_word(position: int, stages: int) -> str:
    """Return the key (in the page's words) of the name of stage ``position``, from 0, in a run of ``stages``."""
    if position == stages - 1:
        return "stage_final"
    return "stage_draft" if position == 0 else "stage_refine"
