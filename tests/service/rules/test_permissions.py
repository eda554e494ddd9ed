"""What strangers may not do, and are not told."""

from __future__ import annotations

import pytest

from zimage_app.domain.errors import ForbiddenError
from zimage_app.domain.text import Text
from zimage_app.service.rules.permissions import for_strangers, require_home


def test_what_all_use_is_changed_at_home_only() -> None:
    require_home("presets", shared=False)
    with pytest.raises(ForbiddenError, match="presets can't be changed"):
        require_home("presets", shared=True)


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
    assert for_strangers(Text(sentence, sentence)) == Text(told, told)
