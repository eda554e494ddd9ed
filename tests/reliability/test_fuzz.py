"""F1–F3: generated files and texts, read as the app reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.cases import FEW, run_cases
from tests.reliability.pictures import Pictures

pytestmark = pytest.mark.timeout(300)


def test_f1_pictures_and_settings_of_others(tmp_path: Path) -> None:
    figures = run_cases("F1", Pictures(tmp_path), FEW)
    assert 0 < figures.refused < figures.cases
