"""The start picture as one stage takes it, with the part of it that is redrawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zimage_app.domain.events import Picture

Mask = NDArray[np.float32]
"""(height, width), 0 kept … 1 redrawn."""


@dataclass(frozen=True, slots=True)
class StartImage:
    """The start picture as one stage takes it."""

    picture: Picture | None
    """In the stage's size; None: what the stage before hands over is taken for it."""
    mask: Mask | None = None
    """In any size; None: all of it is redrawn."""
