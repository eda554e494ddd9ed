"""The check of speed: what counts as fallen, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import guard


def test_a_ratio_may_fall_by_a_quarter() -> None:
    kept = {"a": 1.0, "b": 2.0, "c": 1.2, "gone": 1.1}
    found = {"a": 0.76, "b": 1.49, "c": 1.5, "new": 0.1}
    assert guard.fallen(found, kept) == {"b": (1.49, 2.0), "gone": (0.0, 1.1)}


def test_new_ratios_are_kept_with_a_line_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "KEPT", tmp_path / "ratios.json")
    monkeypatch.setattr(guard, "LOG", tmp_path / "LOG.md")
    guard.LOG.write_text("# Log\n", encoding="utf-8")
    guard.keep({"decoding": 1.234}, "a quicker decoder")
    assert json.loads(guard.KEPT.read_text(encoding="utf-8")) == {"decoding": 1.234}
    first, line = guard.LOG.read_text(encoding="utf-8").splitlines()
    assert first == "# Log"
    assert "a quicker decoder: decoding 1.23" in line
    assert "torch " in line


def test_there_is_something_to_compare_with() -> None:
    kept = json.loads(guard.KEPT.read_text(encoding="utf-8"))
    assert {"decoding", "reading a prompt"} < set(kept)
    assert all(name in guard.LOG.read_text(encoding="utf-8") for name in kept)
