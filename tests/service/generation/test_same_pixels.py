"""The same request gives the same pixels, whatever was before and whoever asks."""

from __future__ import annotations

from pathlib import Path

from tests.service.same_pixels import cancels, same_pixels
from zimage_app import load_generator
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.setup.config import StudioConfig


def test_c5_a_stop_at_any_point_leaves_the_next_run_as_it_is(models_dir: Path) -> None:
    assert cancels(load_generator("tiny", StudioConfig(models=models_dir, stage_memory=0)), every=12) >= 24


def test_d1_every_way_gives_the_same_pixels(models_dir: Path, small_request: GenerationRequest, tmp_path: Path) -> None:
    same_pixels(models_dir, tmp_path, small_request, 2)
