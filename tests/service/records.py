"""Creates a record and a picture for tests, without a model."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.events import Picture
from zimage_app.domain.plan import make_plan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse


def a_picture() -> Picture:
    """Return a picture of 672 × 864 pixels, in which neighbouring rows and columns differ."""
    rows = np.arange(864, dtype=np.uint32)[:, None, None] * 7
    columns = np.arange(672, dtype=np.uint32)[None, :, None]
    return ((rows + columns + np.arange(3, dtype=np.uint32) * 50) % 256).astype(np.uint8)


def a_record(picture_id: str = "20260102-030405-0a1b2c3d", prompt: str = "一艘红色小船") -> ImageRecord:
    """Return a record of the reference workflow."""
    request = GenerationRequest(
        prompt=prompt, negative="云", triggers=("水墨",), seed=42, loras=(LoraUse(name="ink", strength=0.8),)
    )
    plan = make_plan(request, Z_IMAGE_TURBO)
    stages = tuple(
        StageRecord(number=stage.number, seed=stage.seed, seconds=1.5, calls=9, skipped_calls=2)
        for stage in plan.stages
    )
    return ImageRecord(
        id=picture_id,
        created=datetime.fromisoformat("2026-01-02T03:04:05+08:00"),
        model="demo",
        request=plan.request,
        width=672,
        height=864,
        seconds=4.5,
        stages=stages,
        surroundings=RunEnvironment(app="0.1.0", torch="2.13.0", device="cpu", dtype="float32", threads=1),
    )
