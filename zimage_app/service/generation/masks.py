"""What of a start picture is redrawn: masks judged and feathered, canvases extended, both brought to a stage's size.

Works on pixels that are unpacked already; knows no files.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from zimage_app.domain.errors import RequestError
from zimage_app.domain.events import Picture
from zimage_app.domain.request import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text

Size = tuple[int, int]
"""(width, height)."""

_COLOURED = 12.0
"""Mean difference of a pixel's channels above which a picture is none of a mask; JPEG makes some."""
_LOOKED_AT = 512
"""Pixels of a side that are looked at for colours."""
_NOTHING = 3
"""The brightest value of a mask that keeps all; JPEG's black isn't quite 0."""
_SAME_SHAPE = 0.02
_ALMOST_SAME_SHAPE = 0.04
"""Part by which proportions may differ: of mask and picture; of an extended canvas and a stage."""
_REACH = 2.0
"""Standard deviations of a blur, at which next to nothing is left of it."""


def grey_mask(pixels: Picture, picture: Size) -> Image.Image:
    """A picture as the mask for one of the size ``picture``, in that size: white is redrawn.

    Raises:
        RequestError: it is coloured, of another shape, or keeps all.
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
    """The whole mask of a start picture of a size: what is painted and what is added, both feathered."""
    left, top, right, bottom = start.extend
    width, height = picture
    whole = Image.new("L", (left + width + right, top + height + bottom), 255)
    whole.paste(mask or 0, (left, top, left + width, top + height))
    return _feathered(whole, start.feather) if start.feather else whole


def extended(picture: Image.Image, start: StartPicture) -> Image.Image:
    """The picture on its larger canvas; what is added continues its edges."""
    left, top, right, bottom = start.extend
    return Image.fromarray(np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge"))


def start_image(start: StartPicture, picture: Image.Image, mask: Image.Image | None, size: Size) -> StartImage:
    """What a stage of ``size`` begins with; ``mask`` as ``grey_mask`` gives it.

    Raises:
        RequestError: the stage would cut off what is added or painted.
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


def fitted(
    image: Image.Image,
    size: Size,
    fit: Literal["crop", "stretch"],
    method: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """An image brought to a size: what is too much cut off evenly, or distorted."""
    return image.resize(size, method) if fit == "stretch" else ImageOps.fit(image, size, method)


def _feathered(mask: Image.Image, reach: int) -> Image.Image:
    """The mask with a soft edge of that many pixels outside of what it redraws, which stays redrawn wholly."""
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(reach / _REACH)), dtype=np.uint16)
    return Image.fromarray(np.maximum(np.asarray(mask), np.minimum(2 * soft, 255).astype(np.uint8)))


def _alike(one: Size, other: Size, part: float) -> bool:
    across, along = one[0] * other[1], one[1] * other[0]
    return abs(across - along) <= part * max(across, along)


def _refused(what: Text) -> RequestError:
    return RequestError("start.mask", what)
