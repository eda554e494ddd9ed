"""The doctor: what is fine, what is not, and that each fault is told with its cure."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.service.diagnostics.test_monitor import FakeNvml
from tests.service.jobs.fake_comfyui import FakeComfy, serving
from zimage_app.domain.errors import StorageError
from zimage_app.domain.text import Text
from zimage_app.domain.version import SERVICE
from zimage_app.service.diagnostics.doctor import CHECKS, Finding, contents, disk, examine, system, weights
from zimage_app.service.diagnostics.doctor.runners import check_runners
from zimage_app.service.diagnostics.gpus import Amount, NvidiaGpus
from zimage_app.service.setup.config import ROOT, StudioConfig
from zimage_app.service.setup.runner_choice import RunnerChoice


@pytest.fixture
def config(tmp_path: Path) -> StudioConfig:
    """Nothing of one's own anywhere, and the repository's demo model."""
    presets = tmp_path / "presets"
    for folder in (tmp_path / "outputs", tmp_path / "loras", presets / "negative", presets / "wildcards"):
        folder.mkdir(parents=True)
    return StudioConfig(
        outputs=tmp_path / "outputs",
        models=ROOT / "models",
        loras=tmp_path / "loras",
        named_models=presets / "models",
        presets=presets,
        negatives=presets / "negative",
        wildcards=presets / "wildcards",
    )


def levels(findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.about.en: finding.level for finding in findings}


def found(findings: Iterator[Finding], level: str) -> list[str]:
    return [f"{finding.about.en}: {finding.text.en}" for finding in findings if finding.level == level]


def test_every_finding_is_told_in_both_languages(config: StudioConfig) -> None:
    findings = list(examine(config))
    assert len(findings) >= len(CHECKS)
    for finding in findings:
        assert finding.about.zh
        assert finding.text.zh


def test_one_check_that_fails_hides_no_other(config: StudioConfig) -> None:
    def check_broken(config: StudioConfig, deep: bool) -> Iterator[Finding]:
        raise ZeroDivisionError(config.model, deep)

    def check_refused(config: StudioConfig, deep: bool) -> Iterator[Finding]:
        raise StorageError(Text(f"no {deep}", f"不 {config.model}"))

    findings = list(examine(config, checks=(check_broken, check_refused, system.check_python)))
    assert [(each.about.en, each.level) for each in findings] == [
        ("broken", "problem"),
        ("refused", "problem"),
        ("Python", "ok"),
    ]


def test_a_python_that_is_too_old_is_a_problem(config: StudioConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "OLDEST_PYTHON", (9, 0))
    (words,) = found(system.check_python(config, False), "problem")
    assert "install 9.0 or newer" in words


def test_settings_that_are_none_and_a_comfyui_that_is_not_there_are_worth_a_word(
    config: StudioConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("ZIMAGE_")]:
        monkeypatch.delenv(name)
    assert levels(system.check_settings(config, False)) == {"Settings": "ok"}
    monkeypatch.setenv("ZIMAGE_LORA", "x")
    warned = found(system.check_settings(replace(config, comfyui=tmp_path / "none"), False), "warning")
    assert ["ZIMAGE_LORAS meant" in warned[0], "none is not there" in warned[1]] == [True, True]


def test_packages_are_held_against_the_requirements(
    config: StudioConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requirements = tmp_path / "requirements.txt"
    monkeypatch.setattr(system, "REQUIREMENTS", requirements)
    requirements.write_text(
        "# comment\n-r other.txt\nno-such-package>=1\npytest>=999  # newer\npydantic[email]>=2\n"
        "nothing; python_version<'3'\n"
    )
    findings = list(system.check_packages(config, False))
    assert [(each.about.en, each.level) for each in findings] == [("no-such-package", "problem"), ("pytest", "warning")]
    assert ">=999" in findings[1].text.zh
    requirements.write_text("pydantic>=2\n")
    assert levels(system.check_packages(config, False)) == {"Packages": "ok"}


def test_a_gpu_that_torch_cannot_use_is_a_problem(config: StudioConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from zimage_app.models import device

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(system, "NvidiaGpus", lambda: NvidiaGpus(FakeNvml(("RTX",))))
    (words,) = found(system.check_accelerator(config, False), "problem")
    assert "RTX with driver 999.1" in words
    assert "CUDA" in words
    monkeypatch.setattr(system, "NvidiaGpus", lambda: NvidiaGpus(FakeNvml(mute={"nvmlInit"})))
    assert levels(system.check_accelerator(config, False)) == {"Accelerator": "ok"}


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "healthy", "service": SERVICE}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def test_a_taken_port_is_worth_a_word_unless_it_is_this_app_s(
    config: StudioConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        monkeypatch.setattr(system, "DEFAULT_PORT", server.server_port)
        thread = Thread(target=server.handle_request)
        thread.start()
        (finding,) = system.check_port(config, False)
        thread.join()
        assert finding.level == "ok"
        assert "running" in finding.text.en
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr(system, "DEFAULT_PORT", other.getsockname()[1])
        (words,) = found(system.check_port(config, False), "warning")
        assert "is taken" in words


def _no_room(**options: object) -> None:
    raise OSError(28, os.strerror(28), str(options["dir"]))


def test_a_folder_that_cannot_be_written_to_is_told_with_the_reason(
    config: StudioConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _no_room)
    findings = list(disk.check_folders(config, False))
    assert found(iter(findings), "problem")[0].startswith(
        f"Folder of pictures: {config.outputs} can't be written to (No"
    )
    assert levels(iter(findings))["Folder of LoRAs"] == "warning"


@pytest.mark.parametrize(("free", "level"), [(10 * 10**9, "ok"), (10**9, "warning"), (10**7, "problem")])
def test_a_disk_that_is_nearly_full_is_told(
    config: StudioConfig, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(disk, "free_disk", lambda _: Amount(10**12 - free, 10**12))
    assert levels(disk.check_folders(config, False))["Folder of pictures"] == level


def test_a_damaged_database_and_one_set_aside_are_found(config: StudioConfig) -> None:
    config.state.mkdir()
    whole, torn = config.outputs / ".history.sqlite", config.state / "queue.sqlite"
    for path in (whole, torn):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE a (b)")
            connection.executemany("INSERT INTO a VALUES (?)", [("x" * 500,)] * 100)
            connection.commit()
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2 + 700])
    (config.outputs / ".history.sqlite.broken-20260101-000000").write_bytes(b"x")
    (config.outputs / "picture.png").write_bytes(b"x")
    assert levels(disk.check_databases(config, False)) == {
        ".history.sqlite": "ok",
        ".history.sqlite.broken-20260101-000000": "warning",
        "queue.sqlite": "problem",
    }


def test_files_that_cannot_be_read_are_named(config: StudioConfig) -> None:
    (config.presets / "good.yaml").write_text("title: {en: a, zh: b}\nsettings: {seed: 1}\n", encoding="utf-8")
    (config.presets / "bad.yaml").write_text("settings: [\n", encoding="utf-8")
    (config.negatives / "bad.yaml").write_text("a: *b\n", encoding="utf-8")
    (config.loras / "page.safetensors").write_text("<html>", encoding="utf-8")
    findings = [*contents.check_lists(config, False), *contents.check_loras(config, False)]
    warned = found(iter(findings), "warning")
    assert any(words.startswith("Presets: bad: ") and "line " in words for words in warned)
    assert any(words.startswith("Negative prompts: ") and "line 1" in words for words in warned)
    assert any(words.startswith("LoRAs: page: ") for words in warned)
    assert levels(iter(findings))["Presets"] == "ok"


def test_a_model_that_is_here_is_ready_and_looked_at_closely_when_asked(config: StudioConfig) -> None:
    assert levels(weights.check_models(config, False))["Model demo"] == "ok"
    assert len([each for each in weights.check_models(config, True) if each.about.en == "Model demo"]) > 3


def test_broken_models_and_none_at_all_are_problems(config: StudioConfig, tmp_path: Path) -> None:
    (tmp_path / "models" / "torn" / "transformer").mkdir(parents=True)
    (tmp_path / "models" / "torn" / "model_index.json").write_text("{", encoding="utf-8")
    empty = StudioConfig(models=tmp_path / "models", named_models=config.named_models, outputs=config.outputs)
    problems = found(weights.check_models(empty, False), "problem")
    assert problems[-1].startswith("Models: there is none")
    assert any("torn" in words for words in problems)


def test_runners_that_do_not_answer_are_told(config: StudioConfig) -> None:
    with serving(FakeComfy()) as fake:
        away = RunnerChoice("comfyui", (fake.address, "http://127.0.0.1:9"))
        found = list(check_runners(replace(config, fallback=away), False))
    assert [finding.level for finding in found] == ["ok", "problem"]
    assert "127.0.0.1:9" in found[1].about.en
    assert list(check_runners(config, False)) == []
