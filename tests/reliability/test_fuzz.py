"""F1–F3: generated files and texts, read as the app reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.cases import FEW, run_cases
from tests.reliability.documents import Documents
from tests.reliability.lora_files import LoraCases
from tests.reliability.pictures import Pictures

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written here need not outlive a power cut, and there are thousands of files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_f1_pictures_and_settings_of_others(tmp_path: Path) -> None:
    figures = run_cases("F1", Pictures(tmp_path), FEW)
    assert 0 < figures.refused < figures.cases


def test_f2_lora_files_and_what_lies_beside_them(tmp_path: Path) -> None:
    figures = run_cases("F2", LoraCases(tmp_path), FEW)
    assert 0 < figures.refused < figures.cases


def test_f3_what_people_write_by_hand(tmp_path: Path) -> None:
    figures = run_cases("F3", Documents(tmp_path), FEW)
    assert 0 < figures.refused < figures.cases
