"""D2: what a saved picture holds makes it again, through the page."""

from __future__ import annotations

from pathlib import Path

from tests.ui.round_trip import round_trip


def test_d2_pictures_dropped_back_give_settings_and_pixels(models_dir: Path, tmp_path: Path) -> None:
    round_trip(models_dir, tmp_path, 4)
