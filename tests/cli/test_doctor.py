"""``doctor`` on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_app.cli.main import main


@pytest.fixture(autouse=True)
def _chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")


@pytest.fixture
def no_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that ships with the app was deleted."""
    monkeypatch.setattr("zimage_app.service.setup.settings.SHIPPED", tmp_path)


def test_a_fit_app_gets_a_tick_for_each_thing_and_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--outputs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "✓ 模型 demo：可用\n" in printed.out
    assert f"✓ 图片目录：{tmp_path}，剩余" in printed.out
    assert printed.err == "一切就绪，可以生成图片。\n"


@pytest.mark.usefixtures("no_demo")
def test_what_is_in_the_way_gets_a_cross_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--outputs", str(tmp_path), "--models-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "✗ 模型：没有可用的模型" in printed.out
    assert printed.err == "有 1 处需要处理：见标有 ✗ 的各行。\n"


@pytest.mark.usefixtures("no_demo")
def test_as_json_it_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--outputs", str(tmp_path), "--models-dir", str(tmp_path)]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["problems"] == 1
    assert [each["about"] for each in data["findings"] if each["level"] == "problem"] == ["模型"]


def test_a_wrong_settings_file_is_a_finding_and_the_other_checks_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studio.yaml").write_text("port: abc\noutputs: pictures\n", encoding="utf-8")
    monkeypatch.setenv("ZIMAGE_HOME", str(tmp_path))
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    (problem,) = [each["text"] for each in findings if each["level"] == "problem"]
    assert "第 1 行第 7 个字符：port：" in problem
    assert [each["about"] for each in findings if each["about"] == "设置"] == ["设置"]  # and not also understood
    assert any(str(tmp_path / "pictures") in each["text"] for each in findings)  # what is right counts


@pytest.mark.parametrize("command", ["generate x", "history", "status", "models", "models fetch demo", "presets"])
def test_a_wrong_settings_file_is_bad_input_of_every_other_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studio.yaml").write_text("port: abc\n", encoding="utf-8")
    monkeypatch.setenv("ZIMAGE_HOME", str(tmp_path))
    assert main(command.split()) == 2
    assert "第 1 行第 7 个字符：port：" in capsys.readouterr().err
