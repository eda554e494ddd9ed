"""Computes from a stage's settings when guidance acts and what it costs. Pure; no torch.

``engine/guidance`` implements the guidance itself.
"""

from __future__ import annotations

from zimage_app.domain.schedules import as_float32
from zimage_app.domain.settings.stage import Stage

_CAPTION = 64
"""Typical token count of a negative prompt, including padding."""
_WIDTH = 3840
"""Hidden size of Z-Image's transformer."""


def is_guided_by_one(cfg: float) -> bool:
    """Whether CFG is 1, where the negative prompt drops out (ComfyUI's tolerance, HOW-IT-COMPUTES.md section 2)."""
    return abs(cfg - 1.0) <= 1e-9


def conditions_for(cfg: float) -> int:
    """Maximum number of prompts that a step evaluates: 1 where CFG is 1, else 2 (positive and negative)."""
    return 1 if is_guided_by_one(cfg) else 2


def conditions_at(stage: Stage, sigma: float) -> int:
    """The number of prompts evaluated at noise level ``sigma``: 1 where CFG does not act."""
    inside = as_float32(stage.cfg_start) >= sigma >= as_float32(stage.cfg_end)
    return conditions_for(stage.cfg) if inside else 1


def reads_negative(stage: Stage) -> bool:
    """Whether CFG or NAG uses the negative prompt as a whole."""
    return not is_guided_by_one(stage.cfg) or (stage.nag is not None and stage.nag.on)


def subtracts_negative(stage: Stage) -> bool:
    """Whether NegPiP subtracts the negative prompt's phrases from the positive prompt."""
    return stage.negpip is not None and stage.negpip.weight > 0.0


def negative_acts(stage: Stage) -> bool:
    """Whether the negative prompt has an effect in a stage."""
    return reads_negative(stage) or subtracts_negative(stage)


def nag_share(stage: Stage) -> float:
    """Rough extra cost of an evaluation with NAG, as a fraction of one without.

    The negative caption passes through every linear layer, and the picture's tokens attend a second time. The terms
    count multiplications at Z-Image's hidden size.
    """
    tokens = (stage.height // 16) * (stage.width // 16)
    return _CAPTION / (tokens + _CAPTION) + tokens / (tokens + 6 * _WIDTH)
