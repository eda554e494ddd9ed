"""Shared fixtures: torch with one thread, and a tiny model on disk in the real layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zimage_app.domain.request import GenerationRequest, Stage
from zimage_app.models.tiny import write_tiny_model

torch.set_num_threads(1)

ROOT = Path(__file__).parent
SLOW = (
    "test_house.py",
    "test_package.py",
    "test_readme.py",
    "test_serve.py",
    "test_share.py",
    "test_space.py",
    "reliability/",
    "rest/test_fuzz.py",
    "service/test_faults.py",
    "tools/",
    "ui/test_main_job.py",
    "web/test_attacks.py",
    "web/test_network.py",
)
"""Prefixes of test files marked as slow, because they start whole programs or check whole pictures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests and slow tests, so that they can be deselected."""
    for item in items:
        if isinstance(item, pytest.Function) and "playwright" in item.fixturenames:
            item.add_marker("browser")
        if item.path.is_relative_to(ROOT) and item.path.relative_to(ROOT).as_posix().startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a single one, ``tiny``, which has random weights."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture
def small_request() -> GenerationRequest:
    """A request with two quick stages, the second with an SDE sampler, which draws Brownian noise."""
    return GenerationRequest(
        prompt="a red boat",
        negative="云",
        seed=42,
        stages=(
            Stage(width=64, height=96, steps=3, cfg=2.0, sampler="euler_ancestral", scheduler="flow_match"),
            Stage(width=128, height=192, steps=3, denoise=0.6, sampler="dpmpp_sde", scheduler="beta", shift=7.0),
        ),
    )
