"""How quickly models have worked: read from pictures, once each, and only what is like the newest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.service.records import a_record
from zimage_app.domain.record import ImageRecord
from zimage_app.service.generation.run_times import RunTimes
from zimage_app.service.pictures.gallery import Gallery

PIXELS = np.zeros((8, 8, 3), np.uint8)


def save(folder: Path, number: int, **changes: object) -> ImageRecord:
    made = a_record().model_copy(update={"id": f"20260101-0000{number:02}-{number:08x}", **changes})
    Gallery(folder).save(PIXELS, made)
    return made


def test_nothing_is_known_without_pictures(tmp_path: Path) -> None:
    assert RunTimes(tmp_path / "none").of("tiny") == ()
    assert RunTimes(tmp_path).of("tiny") == ()


def test_new_pictures_are_noticed_and_others_models_kept_apart(tmp_path: Path) -> None:
    pace = RunTimes(tmp_path)
    first = save(tmp_path, 1)
    count = len(pace.of(first.model))
    assert count >= 1
    assert pace.of("another") == ()
    save(tmp_path, 2)
    assert len(pace.of(first.model)) == 2 * count


def test_only_what_was_made_as_the_newest_counts(tmp_path: Path) -> None:
    made = save(tmp_path, 1)
    pace = RunTimes(tmp_path)
    count = len(pace.of(made.model))
    surroundings = made.surroundings.model_copy(update={"device": "cuda"})
    save(tmp_path, 2, surroundings=surroundings)
    assert len(pace.of(made.model)) == count


def test_damaged_pictures_are_passed_over_and_many_are_bounded(tmp_path: Path) -> None:
    made = save(tmp_path, 1)
    (tmp_path / "2026-01-01" / "20260101-000002-00000002.png").write_bytes(b"no picture")
    each = len(RunTimes(tmp_path).of(made.model))
    assert each >= 1
    for number in range(3, 73):
        save(tmp_path, number % 60, id=f"20260101-{number // 60:02}{number % 60:02}00-{number:08x}")
    assert len(RunTimes(tmp_path).of(made.model)) == 60 * each


@pytest.mark.parametrize("name", ["readme.txt", "2026-01-02"])
def test_other_files_beside_the_days_do_no_harm(tmp_path: Path, name: str) -> None:
    made = save(tmp_path, 1)
    (tmp_path / name).write_text("x")
    assert RunTimes(tmp_path).of(made.model)
