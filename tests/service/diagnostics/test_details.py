"""What a bug report says of the app, and what it must not say of a person."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.diagnostics.test_monitor import NO_DRIVER, FakeNvml
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.cgroups import ControlGroups
from zimage_app.service.diagnostics.details import Section, as_text, details, installed
from zimage_app.service.diagnostics.gpus import NvidiaGpus
from zimage_app.service.diagnostics.monitor import Monitor
from zimage_app.service.diagnostics.scrub import scrubbed
from zimage_app.service.generation.model_slot import LoadedModel
from zimage_app.service.setup.config import ROOT, StudioConfig


def shown(tmp_path: Path, nvml: FakeNvml = NO_DRIVER, loaded: LoadedModel | None = None) -> tuple[Section, ...]:
    config = StudioConfig(outputs=tmp_path / "outputs", models=tmp_path / "models", loras=tmp_path / "none")
    return details(config, Monitor(tmp_path, ControlGroups(tmp_path), NvidiaGpus(nvml)), loaded)


def rows(sections: tuple[Section, ...]) -> dict[str, Text]:
    return {row.name.en: row.value for section in sections for row in section.rows}


def test_folders_are_added_up_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "models" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "a").write_bytes(bytes(700))
    (tmp_path / "models" / "deep" / "b").write_bytes(bytes(300))
    (tmp_path / "models" / "deep" / "back").symlink_to(tmp_path / "models", target_is_directory=True)
    for name in (".state/jobs.sqlite", ".trash/2026-01-31/c.png", ".history.sqlite", "batches/list/manifest.jsonl"):
        (tmp_path / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "outputs" / name).write_bytes(bytes(700))
    found = rows(shown(tmp_path))
    assert found["Models"].en.startswith("3 files, 1")
    assert found["Pictures"] == Text("0 files, 0 B", "0 个文件，0 B")
    assert found["LoRAs"] == Text("not there", "不存在")
    (tmp_path / "outputs" / "2026-01-31").mkdir()
    (tmp_path / "outputs" / "2026-01-31" / "d.png").write_bytes(bytes(900))
    assert rows(shown(tmp_path))["Pictures"] == Text("1 file, 900 B", "1 个文件，900 B")


def test_a_gpu_and_its_driver_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = rows(shown(tmp_path, FakeNvml(("NVIDIA A",))))
    assert found["NVIDIA driver"].en == "999.1"
    assert found["Accelerator"].en.startswith("NVIDIA A; 40% busy; 0.0 GB of 0.0 GB used")
    assert found["Accelerator"].en.endswith("60 °C")
    assert "NVIDIA driver" not in rows(shown(tmp_path))


def test_the_model_is_told_with_its_memory_plan_and_attention(tmp_path: Path) -> None:
    about = (Text("bfloat16 on cuda", "在 cuda 上使用 bfloat16"), Text("packed", "压缩"))
    found = rows(shown(tmp_path, loaded=LoadedModel("z-image-turbo", about)))
    assert found["Model"].en == "z-image-turbo"
    assert found["Memory plan"] == Text("bfloat16 on cuda; packed", "在 cuda 上使用 bfloat16；压缩")
    assert rows(shown(tmp_path))["Model"].en.startswith("none yet")


def test_the_text_has_a_line_for_each_fact(tmp_path: Path) -> None:
    text = as_text(shown(tmp_path), "zh")
    assert f"torch: {installed('torch')}\n" in text
    assert text.splitlines()[0] == "[版本]"
    assert installed("no-such-package") is None


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"{ROOT}/outputs/a.png", "./outputs/a.png"),
        (f"{Path.home()}/models/x", "~/models/x"),
        ("/home/xiaoming/loras/a", "~/loras/a"),
        (r"C:\Users\Xiao Ming", r"~ Ming"),
        (r"C:\Users\ming\outputs", r"~\outputs"),
        ("HF_TOKEN=hf_abcdefghijklmnop end", "HF_TOKEN=<key> end"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer <key>"),
        ("api_key: 'sesame'", "api_key: '<key>'"),
        ("http://me:word@proxy:80/x", "http://<key>@proxy:80/x"),
        ("step 3 of 8, 512 tokens read", "step 3 of 8, 512 tokens read"),
    ],
)
def test_what_points_at_a_person_is_taken_out(text: str, clean: str) -> None:
    assert scrubbed(text) == clean


def test_the_user_s_name_is_taken_out_unless_it_is_a_common_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(name: str) -> Callable[[], str]:
        return lambda: name

    monkeypatch.setattr(getpass, "getuser", named("xiaoming"))
    assert scrubbed("saved by xiaoming in /data/xiaoming") == "saved by <user> in /data/<user>"
    monkeypatch.setattr(getpass, "getuser", named("root"))
    assert scrubbed("the root of it") == "the root of it"
