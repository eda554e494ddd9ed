"""F1–F3 with 5,000 cases each, and a second of the processor for each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.cases import MANY, SECONDS, run_cases
from tests.reliability.documents import Documents
from tests.reliability.lora_files import LoraCases
from tests.reliability.pictures import Pictures

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written here need not outlive a power cut, and there are thousands of files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_f1_pictures_and_settings_of_others(tmp_path: Path) -> None:
    run_cases("F1", Pictures(tmp_path), MANY, SECONDS)


def test_f2_lora_files_and_what_lies_beside_them(tmp_path: Path) -> None:
    run_cases("F2", LoraCases(tmp_path), MANY, SECONDS)


def test_f3_what_people_write_by_hand(tmp_path: Path) -> None:
    run_cases("F3", Documents(tmp_path), MANY, SECONDS)
