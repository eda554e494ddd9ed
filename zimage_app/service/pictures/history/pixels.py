"""Compares two pictures pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zimage_app.domain.errors import StorageError
from zimage_app.domain.events import Picture
from zimage_app.domain.text import Text
from zimage_app.service.pictures.decoding import MAX_PIXELS
from zimage_app.service.pictures.picture_files import UnreadablePicture, opened_picture


def read_pixels(path: Path) -> Picture:
    """Read a saved picture as (h, w, 3) uint8; raises StorageError if it can't be read."""
    try:
        with opened_picture(path, ["PNG"], MAX_PIXELS) as image:
            return np.asarray(image.convert("RGB"))
    except UnreadablePicture as error:
        raise StorageError(
            Text(f"{path.name} is not a readable PNG picture.", f"{path.name} 不是可读取的 PNG 图片。")
        ) from error


def compare_pixels(before: Picture, after: Picture) -> tuple[bool, Text]:
    """Return (whether all pixels are equal, a message that says by how much they differ)."""
    if before.shape != after.shape:
        return False, Text("The new picture has another size.", "新图片的尺寸不同。")
    difference = np.abs(before.astype(np.int16) - after).max(-1)
    if not difference.any():
        return True, Text("Every pixel is the same.", "逐像素完全一致。")
    share, most = float((difference > 0).mean()), int(difference.max())
    return False, Text(
        f"{share:.1%} of the pixels differ, by up to {most} of 255; another device, version or file does that.",
        f"{share:.1%} 的像素有差异，最大相差 {most}/255；换了设备、版本或文件时会这样。",
    )
