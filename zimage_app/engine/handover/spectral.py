"""``spectral``: continues the previous stage's trajectory at a larger size; new high frequencies are filled with noise.

The method of SGLang's progressive resolution (pull request 27524, ``dct_rewind``), for sides that grow by any ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zimage_app.domain.plan import StagePlan
from zimage_app.domain.trajectory import growth
from zimage_app.engine.start import to_model_space
from zimage_app.models.components import LatentFormat

_AXES = (-2, -1)


def take_over(latent: Tensor, noise: Tensor, stage: StagePlan, form: LatentFormat) -> Tensor:
    """Enlarge the noisy latent in the DCT domain; see ``Handover`` for arguments and result."""
    if stage.takeover is None:
        raise ValueError("a stage that begins a trajectory has none to go on with")
    x, sigma = to_model_space(latent, form), stage.takeover.sigma
    ratio = growth((x.shape[-2], x.shape[-1]), stage.latent_size)
    return spread(x, sigma * noise) * (ratio / (1.0 + (ratio - 1.0) * sigma))


def spread(x: Tensor, fill: Tensor) -> Tensor:
    """``x`` at the size of ``fill``, whose lowest frequencies it replaces: orthonormal DCT-II over both axes."""
    from scipy.fft import dctn, idctn  # a third of a second, for this rule alone

    height, width = x.shape[-2:]
    spectrum = fill.numpy().copy()
    spectrum[..., :height, :width] = dctn(x.numpy(), axes=_AXES, norm="ortho")
    return torch.from_numpy(idctn(spectrum, axes=_AXES, norm="ortho"))
