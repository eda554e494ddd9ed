"""When guidance acts, and what it costs: by a stage's settings alone. Pure; no torch.

How it acts is the engine's (``engine/guidance``).
"""

from __future__ import annotations

from zimage_app.domain.request import Stage
from zimage_app.domain.schedules import as_float32

_CAPTION = 64
"""Tokens of a usual negative prompt, padded."""
_WIDTH = 3840
"""Of Z-Image's tokens."""


def is_guided_by_one(cfg: float) -> bool:
    """Whether CFG is 1, where the negative prompt drops out (ComfyUI's tolerance, HOW-IT-COMPUTES.md section 2)."""
    return abs(cfg - 1.0) <= 1e-9


def conditions_for(cfg: float) -> int:
    """How many prompts a stage evaluates at most: one where CFG comes to 1, else the positive and the negative."""
    return 1 if is_guided_by_one(cfg) else 2


def conditions_at(stage: Stage, sigma: float) -> int:
    """How many prompts are evaluated at a noise level: one where CFG does not act."""
    inside = as_float32(stage.cfg_start) >= sigma >= as_float32(stage.cfg_end)
    return conditions_for(stage.cfg) if inside else 1


def reads_negative(stage: Stage) -> bool:
    """Whether the negative prompt as a whole is asked for: by CFG or by NAG."""
    return not is_guided_by_one(stage.cfg) or (stage.nag is not None and stage.nag.on)


def subtracts_negative(stage: Stage) -> bool:
    """Whether the negative prompt's phrases are subtracted in the positive one."""
    return stage.negpip is not None and stage.negpip.weight > 0.0


def negative_acts(stage: Stage) -> bool:
    """Whether the negative prompt has an effect in a stage."""
    return reads_negative(stage) or subtracts_negative(stage)


def nag_share(stage: Stage) -> float:
    """How much more an evaluation costs with NAG, roughly: its share of one without.

    The negative caption goes through every linear, and the picture attends a second time; the numbers of
    multiplications are those of a model of Z-Image's width.
    """
    tokens = (stage.height // 16) * (stage.width // 16)
    return _CAPTION / (tokens + _CAPTION) + tokens / (tokens + 6 * _WIDTH)
