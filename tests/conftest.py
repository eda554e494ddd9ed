"""Shared fixtures: torch with one thread, and a tiny model on disk in the real layout."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Container images often switch bytecode files off; then each of the many programs that tests start would compile the
# whole package again, and each worker all tests.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

# For this process and the programs that tests start: several at once with a thread for each processor would mostly
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.models.tiny import write_tiny_model

sys.dont_write_bytecode = False  # this process has read the variable before
torch.set_num_threads(1)
gc.disable()  # imports leave hardly any garbage, but looking for it takes a tenth of their time

ROOT = Path(__file__).parent
SLOW = (
    "cli/",
    "engine/test_gpu.py",
    "engine/test_memory_savings.py",
    "models/",
    "reliability/",
    "rest/",
    "service/generation/",
    "service/jobs/",
    "service/pictures/",
    "service/test_faults.py",
    "service/test_groups.py",
    "service/test_studio.py",
    "test_house.py",
    "test_package.py",
    "test_readme.py",
    "test_routes.py",
    "test_serve.py",
    "test_share.py",
    "test_space.py",
    "tools/",
    "ui/",
    "web/",
)
"""Prefixes of files whose tests start programs, load models, serve requests or judge pictures.

``scripts/test-fast`` leaves them out; run their folder's tests when you change what they test.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are processors: tests of the page wait for answers a quarter of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Don't import slow tests that are deselected anyway; importing them takes as long as many tests."""
    return True if _is_slow(collection_path) and "not slow" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests and slow tests, so that they can be deselected."""
    for item in items:
        if isinstance(item, pytest.Function) and "playwright" in item.fixturenames:
            item.add_marker("browser")
        if _is_slow(item.path):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Let later collections pass over all modules and tests: those of the app's own memory relief are full ones."""
    gc.freeze()
    gc.enable()


def _is_slow(path: Path) -> bool:
    if not path.is_relative_to(ROOT):
        return False
    relative = path.relative_to(ROOT).as_posix()
    return f"{relative}/".startswith(SLOW) or relative.startswith(SLOW)


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
