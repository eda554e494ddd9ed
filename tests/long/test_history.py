"""The history with the big numbers: ``python -m pytest tests/long``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.service.pictures.test_history import check_damage, save
from tests.ui.round_trip import round_trip
from zimage_app.service.pictures.history import History

pytestmark = pytest.mark.timeout(7200)


def test_c4_a_damaged_index_is_made_again_from_the_pictures(tmp_path: Path) -> None:
    check_damage(tmp_path, flips=300, cuts=100)


def test_c4_ten_thousand_pictures_are_read_within_a_minute(tmp_path: Path) -> None:
    for number in range(10_000):
        save(tmp_path, number, f"图{number}号", day=1 + number % 28)
    history = History(tmp_path)
    begun = time.process_time()
    history.refresh()
    assert time.process_time() - begun < 60  # of our own work, whatever else the machine does
    assert history.page(None).total == 10_000


def test_d2_pictures_dropped_back_give_settings_and_pixels(models_dir: Path, tmp_path: Path) -> None:
    round_trip(models_dir, tmp_path, 50)
