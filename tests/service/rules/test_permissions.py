"""What strangers may not do, and are not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.domain.errors import ForbiddenError
from zimage_app.domain.text import Text
from zimage_app.service.rules.permissions import redacted, refuse_if_shared
from zimage_app.service.setup.config import ROOT, StudioConfig


def test_what_all_use_is_changed_at_home_only() -> None:
    refuse_if_shared("presets", shared=False)
    with pytest.raises(ForbiddenError, match="presets can't be changed"):
        refuse_if_shared("presets", shared=True)


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "could not be saved in /home/anna/studio/outputs/2026-01-01: full.",
            "could not be saved in …/2026-01-01: full.",
        ),
        ("图片无法保存到 /srv/out/2026-01-01：磁盘已满。", "图片无法保存到 …/2026-01-01：磁盘已满。"),
        (r"C:\Users\anna\loras\ink.safetensors is damaged", "…/ink.safetensors is damaged"),
        ("'/data/models/x.safetensors', header", "'…/x.safetensors', header"),
        ("stages.1.denoise: 3 (stage 2) must be at most 1", "stages.1.denoise: 3 (stage 2) must be at most 1"),
        ("画风/水墨 or 50 m/s or and/or stays", "画风/水墨 or 50 m/s or and/or stays"),
    ],
)
def test_strangers_are_told_no_places(sentence: str, told: str) -> None:
    assert redacted(Text(sentence, sentence)) == Text(told, told)


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (r"无法读取 C:\Users\John Smith\loras\ink.safetensors。", "无法读取 …/ink.safetensors。"),
        (r"[Errno 13] 'c:\\Users\\John Smith\\x.png'", r"[Errno 13] '…\\x.png'"),
        ("C:/Users/John Smith/outputs is full", "… is full"),
        ("it lies in /srv/my pictures.", "it lies in …."),
        ("保存到/srv/my pictures/2026-01-01/x.png", "保存到…/x.png"),
        ("/srv/my pictures-old and /srv/my", "…/my pictures-old and …/my"),
    ],
)
def test_known_folders_are_hidden_whole_though_they_have_spaces(sentence: str, told: str) -> None:
    folders = (Path(r"C:\Users\John Smith"), Path(r"C:\Users\John Smith\outputs"), Path("/srv/my pictures"))
    assert redacted(Text(sentence, sentence), folders) == Text(told, told)


def test_the_folders_of_user_and_app_are_known(tmp_path: Path) -> None:
    config = StudioConfig(outputs=tmp_path / "my pictures", comfyui=tmp_path / "my ComfyUI")
    for folder in (Path.home(), ROOT, config.models, tmp_path / "my pictures", tmp_path / "my ComfyUI"):
        assert redacted(Text(f"{folder}!"), config.folders) == Text("…!"), folder
