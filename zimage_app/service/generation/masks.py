"""The part of a start picture that is redrawn: checks and feathers masks, extends canvases, resizes both to a stage.

Works on decoded pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from zimage_app.domain.errors import RequestError
from zimage_app.domain.events import Picture
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.service.pictures.decoding import fitted

Size = tuple[int, int]
"""(width, height)."""

_COLOURED = 12.0
"""Mean difference between a pixel's channels above which a picture can't be a mask; JPEG masks have a small one."""
_LOOKED_AT = 512
"""Maximum side in pixels of the subsampled mask that is checked for colours."""
_NOTHING = 3
"""A mask whose brightest value is at most this one redraws nothing; JPEG's black isn't exactly 0."""
_SAME_SHAPE = 0.02
_ALMOST_SAME_SHAPE = 0.04
"""Maximum relative difference of aspect ratios: of mask and picture, and of extended canvas and stage."""
_REACH = 2.0
"""Distance in standard deviations at which a Gaussian blur has almost faded out."""


def grey_mask(pixels: Picture, picture: Size) -> Image.Image:
    """Convert ``pixels`` (h, w, 3) to a mask of the size ``picture``; white is redrawn.

    Raises:
        RequestError: the mask is coloured, has another aspect ratio, or redraws nothing.
    """
    every = max(1, max(pixels.shape) // _LOOKED_AT)
    some = pixels[::every, ::every].astype(np.int16)
    if float((some.max(2) - some.min(2)).mean()) > _COLOURED:
        raise _refused(
            Text(
                "is a coloured picture; a mask is white where the start picture is redrawn and black where it is kept",
                "是彩色图片；蒙版应以白色表示重绘、黑色表示保留",
            )
        )
    height, width = pixels.shape[:2]
    if not _alike((width, height), picture, _SAME_SHAPE):
        raise _refused(
            Text(
                f"is {width} x {height}, but the start picture is {picture[0]} x {picture[1]}; both must have the same"
                " proportions",
                f"尺寸为 {width} × {height}，而起始图片为 {picture[0]} × {picture[1]}；两者比例必须相同",
            )
        )
    mask = Image.fromarray(pixels).convert("L")
    if np.asarray(mask).max() <= _NOTHING:
        raise _refused(
            Text(
                "is black all over, so nothing would be redrawn; paint white what is to be redrawn",
                "全是黑色，不会重绘任何内容；请把要重绘的部分涂成白色",
            )
        )
    return mask if mask.size == picture else mask.resize(picture, Image.Resampling.BILINEAR)


def redrawn_part(start: StartPicture, mask: Image.Image | None, picture: Size) -> Image.Image:
    """Return the mask for the extended canvas: painted and added areas are white, with feathered edges."""
    left, top, right, bottom = start.extend
    width, height = picture
    whole = Image.new("L", (left + width + right, top + height + bottom), 255)
    whole.paste(mask or 0, (left, top, left + width, top + height))
    return _feathered(whole, start.feather) if start.feather else whole


def extended(picture: Image.Image, start: StartPicture) -> Image.Image:
    """Return the picture on its extended canvas; added areas repeat the edge pixels."""
    left, top, right, bottom = start.extend
    return Image.fromarray(np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge"))


def start_image(start: StartPicture, picture: Image.Image, mask: Image.Image | None, size: Size) -> StartImage:
    """Return the start picture and mask at a stage's ``size``; ``mask`` is a result of ``grey_mask``.

    Raises:
        RequestError: the stage would crop off the added or painted area.
    """
    canvas = extended(picture, start)
    if any(start.extend) and start.fit == "crop" and not _alike(canvas.size, size, _ALMOST_SAME_SHAPE):
        raise RequestError(
            "start.extend",
            Text(
                f"makes a canvas of {canvas.width} x {canvas.height}, which a stage of {size[0]} x {size[1]} would cut;"
                " give the stages the canvas's proportions",
                f"扩展后的画布为 {canvas.width} × {canvas.height}，会被 {size[0]} × {size[1]} 的阶段裁掉；"
                "请让各阶段与画布比例一致",
            ),
        )
    part = fitted(redrawn_part(start, mask, picture.size), size, start.fit, Image.Resampling.BILINEAR)
    values = np.asarray(part, dtype=np.float32) / 255.0
    if values.max() * 255.0 <= _NOTHING:
        raise _refused(
            Text(
                f"lies in what a stage of {size[0]} x {size[1]} crops off; paint elsewhere or choose fit stretch",
                f"涂抹的部分都在 {size[0]} × {size[1]} 的阶段裁掉的范围内；请涂在别处或改用拉伸（stretch）",
            )
        )
    return StartImage(np.asarray(fitted(canvas, size, start.fit)), values)


def _feathered(mask: Image.Image, reach: int) -> Image.Image:
    """Add a soft edge of ``reach`` pixels outside the redrawn area, which itself stays white."""
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(reach / _REACH)), dtype=np.uint16)
    return Image.fromarray(np.maximum(np.asarray(mask), np.minimum(2 * soft, 255).astype(np.uint8)))


def _alike(one: Size, other: Size, part: float) -> bool:
    across, along = one[0] * other[1], one[1] * other[0]
    return abs(across - along) <= part * max(across, along)


def _refused(what: Text) -> RequestError:
    return RequestError("start.mask", what)
