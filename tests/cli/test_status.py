"""``status`` on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main


def test_the_status_names_versions_machine_and_folders(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["status"]) == 0
    printed = capsys.readouterr().out
    assert "[机器]" in printed
    assert "\ngradio: " in printed
    assert str(Path.home()) not in printed


def test_the_status_as_json_holds_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["machine"]["processors"] > 0
    assert 0 <= data["machine"]["processor_load"] <= 1
    assert data["details"]["torch"]
