"""How a stage takes over the previous stage's latent: one method per file, named as in ``domain/catalogue.py``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.engine.handover import resize, spectral
from zimage_app.models.components import LatentFormat

__all__ = ["HANDOVERS", "Handover"]

Handover = Callable[[Tensor, Tensor, StagePlan, LatentFormat], Tensor]
"""(previous stage's latent, VAE space; unit noise at this stage's size; this stage; shift and scale of the spaces) ->
the latent that sampling starts from, in model space, at ``stage.sigmas[0]``. All (1, 16, h, w), float32, on the CPU."""

HANDOVERS: dict[str, Handover] = {"resize": resize.take_over, "spectral": spectral.take_over}
