"""Which kernels are quicker, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.service.generation import kernel_memory
from zimage_app.service.generation.kernel_memory import StoredChoices


def test_choices_are_kept_by_place_and_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state" / "kernels.json"
    here, there = (StoredChoices(path, card, "3840 wide") for card in ("RTX 3060, driver 580", "RTX 4090, driver 580"))
    assert here.get("672 x 864") == {}
    here.put("672 x 864", {"attend": "cuDNN"})
    here.put("168 x 216", {"attend": "plain"})
    again = StoredChoices(path, "RTX 3060, driver 580", "3840 wide")
    assert [again.get(shape) for shape in ("672 x 864", "168 x 216")] == [{"attend": "cuDNN"}, {"attend": "plain"}]
    assert there.get("672 x 864") == {}
    monkeypatch.setattr(kernel_memory, "_version", lambda package: f"{package} of tomorrow")
    assert StoredChoices(path, "RTX 3060, driver 580", "3840 wide").get("672 x 864") == {}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}'])
def test_a_damaged_file_counts_as_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kernels.json"
    path.write_text(content, encoding="utf-8")
    here = StoredChoices(path, "x", "y")
    assert here.get("a") == {}
    here.put("a", {"gate": "compiled"})
    assert here.get("a") == {"gate": "compiled"}


def test_what_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    StoredChoices(tmp_path / "file" / "kernels.json", "x", "y").put("a", {"gate": "compiled"})
    assert "cannot be written" in caplog.text
