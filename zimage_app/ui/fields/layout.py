"""The order of a stage's controls on the page, by section. Independent of Gradio components and texts."""

from __future__ import annotations

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


def stage_word(position: int, stages: int) -> str:
    """Return the key (in the page's words) of the name of stage ``position``, from 0, in a run of ``stages``."""
    if position == stages - 1:
        return "stage_final"
    return "stage_draft" if position == 0 else "stage_refine"
