"""How a stage takes over from the one before: one rule a file, by its name in ``domain/catalogue.py``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.engine.handover import resize, spectral
from zimage_app.models.components import LatentFormat

__all__ = ["HANDOVERS", "Handover"]

Handover = Callable[[Tensor, Tensor, StagePlan, LatentFormat], Tensor]
"""(latent of the stage before, VAE space; unit noise in the stage's size; the stage; the two spaces) -> where its
sampling starts: model space, at the noise level ``stage.sigmas[0]``. All (1, 16, h, w), float32, on the CPU."""

HANDOVERS: dict[str, Handover] = {"resize": resize.take_over, "spectral": spectral.take_over}
