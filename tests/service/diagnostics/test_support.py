"""The bundle for a bug report: what is in it, and what must not be."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from zimage_app.cli.main import main
from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor import Finding
from zimage_app.service.diagnostics.logs import FILE_NAME, log_folder
from zimage_app.service.diagnostics.support import last_lines, write_bundle
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.settings import Settings

HOME = str(Path.home())
PROMPT = "我的秘密小船 secret boat"
LOG = [
    "2026-01-01 10:00:00 INFO start in /home/xiaoming/zimage with hf_abcdefghijklmnop",
    f'2026-01-01 10:00:01 INFO job 1: done model=demo prompt="{PROMPT}"',
    f"2026-01-01 10:00:02 WARNING cannot read {PROMPT}",
]


def one_finding(config: StudioConfig) -> Iterator[Finding]:
    yield Finding("warning", Text("Folder", "目录"), Text(f"{HOME}/x {config.offline}", f"{HOME}/x"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = log_folder(tmp_path / "outputs")
    folder.mkdir(parents=True)
    (folder / f"{FILE_NAME}.1").write_text("oldest\n", encoding="utf-8")
    (folder / FILE_NAME).write_text("\n".join(LOG) + "\n", encoding="utf-8")
    (tmp_path / "outputs" / "picture.png").write_bytes(b"pixels")
    return Settings(outputs=tmp_path / "outputs", auth=("me:secret-word",), api_key="sesame-sesame-sesame", port=1234)


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_bundle_holds_versions_settings_findings_and_log(settings: Settings, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.zip", settings, "en", checks=one_finding)
    texts = contents(tmp_path / "a.zip")
    assert list(texts) == ["README.txt", "details.txt", "doctor.txt", "settings.yaml", "log.txt"]
    assert "\ntorch: " in texts["details.txt"]
    assert texts["doctor.txt"] == "warning: Folder: ~/x False\n"
    assert yaml.safe_load(texts["settings.yaml"])["port"] == 1234
    assert texts["log.txt"].splitlines()[:2] == ["oldest", "2026-01-01 10:00:00 INFO start in ~/zimage with <key>"]


def test_no_prompt_key_name_picture_or_home_folder_is_in_it(settings: Settings, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.zip", settings, "zh", checks=one_finding)
    everything = "".join(contents(tmp_path / "a.zip").values())
    secrets = [PROMPT, "secret", "小船", "sesame", "xiaoming", "pixels", "hf_abc"]
    if len(HOME) > 1 and not str(tmp_path).startswith(HOME):
        secrets.append(HOME + "/")
    for secret in secrets:
        assert secret not in everything


def test_prompts_stay_where_they_were_asked_for(settings: Settings, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.zip", settings, "en", with_prompts=True, checks=one_finding)
    texts = contents(tmp_path / "a.zip")
    assert texts["log.txt"].count(PROMPT) == 2
    assert "with your prompts" in texts["README.txt"]


def test_without_a_log_there_are_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path, with_prompts=False) == []


def test_a_file_that_is_there_is_not_written_over(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("mine")
    with pytest.raises(StorageError, match="is there already"):
        write_bundle(path, settings, "en", checks=one_finding)
    assert path.read_text() == "mine"
    with pytest.raises(StorageError, match="can't be written"):
        write_bundle(tmp_path / "none" / "a.zip", settings, "en", checks=one_finding)


def test_the_command_writes_one_file_and_names_it(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["support", "--outputs", str(settings.outputs)]) == 0
    (path,) = tmp_path.glob("zimage-support-*.zip")
    assert capsys.readouterr().out == f"{path.name}{os.linesep}"
    texts = contents(path)
    assert "ok: " in texts["doctor.txt"]
    assert PROMPT not in texts["log.txt"]


def test_a_wrong_settings_file_is_among_the_findings(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("ZIMAGE_HOME", str(tmp_path))
    (tmp_path / "studio.yaml").write_text("device: banana\nport: 7000\n", encoding="utf-8")
    path = tmp_path / "a.zip"
    assert main(["support", "--out", str(path), "--outputs", str(settings.outputs)]) == 0
    assert "line 1, column 9: device: " in capsys.readouterr().err
    texts = contents(path)
    assert "line 1, column 9: device: " in texts["doctor.txt"]
    assert yaml.safe_load(texts["settings.yaml"])["port"] == 7000
    assert texts["log.txt"]
