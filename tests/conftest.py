"""What many tests share: one thread, and a model of toy size on disk, in the real layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zimage_app.domain.request import GenerationRequest, Stage
from zimage_app.models.tiny import write_tiny_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds one, ``tiny``, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture
def small_request() -> GenerationRequest:
    """Two quick stages, the second with EasyCache's sampler kin: a Brownian one."""
    return GenerationRequest(
        prompt="a red boat",
        negative="云",
        seed=42,
        stages=(
            Stage(width=64, height=96, steps=3, cfg=2.0, sampler="euler_ancestral", scheduler="flow_match"),
            Stage(width=128, height=192, steps=3, denoise=0.6, sampler="dpmpp_sde", scheduler="beta", shift=7.0),
        ),
    )
