"""The start picture prepared for one stage, with the mask of the part to redraw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zimage_app.domain.events import Picture

Mask = NDArray[np.float32]
"""(height, width), 0 kept … 1 redrawn."""


@dataclass(frozen=True, slots=True)
class StartImage:
    """The start picture prepared for one stage."""

    picture: Picture | None
    """At the stage's size; None: the previous stage's output is used instead."""
    mask: Mask | None = None
    """At any size; None: the whole picture is redrawn."""
