"""Roles of nodes that load start pictures and masks, and select the part that is redrawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.pictures import made_of, picture_of, remake
from zimage_app.service.imports.comfy.values import Mask, Note, PictureValue, Plain, Start, Value

_SIZE_UNKNOWN = Text("the size of the picture that it loads isn't known", "无法得知它读取的图片的尺寸")
_PLACE = re.compile(r"\[(?:input|output|temp)\]\s*$")
"""Suffix of a file name that tells its folder."""
_NO_START = Text(
    "left out: only a part of a start picture can be redrawn, and what is masked here is none",
    "未带入：只能重绘起始图片的一部分，而这里的蒙版不是针对起始图片的",
)
_NO_MASK = Text("left out: where its mask comes from isn't known", "未带入：无法得知它的蒙版来自哪里")
_RULES = {
    "noise mask": Text("→ the start picture's mask, by the same rule", "→ 起始图片的蒙版，规则相同"),
    "conditioning": Text(
        "→ the start picture's mask, by the same rule; what it adds for inpainting models means nothing to Z-Image",
        "→ 起始图片的蒙版，规则相同；它为重绘专用模型附加的内容对 Z-Image 没有意义",
    ),
    "grey": Text(
        "→ the start picture's mask, with a feather in place of grow_mask_by; similar, not equal: what is masked is"
        " not made grey before it is encoded",
        "→ 起始图片的蒙版，以羽化代替 grow_mask_by；相近，但不完全相同：编码前不会把蒙版区域变灰",
    ),
}
"""The row's ``rule`` for masking a latent -> note for the user."""
_PADS = Text(
    "→ a larger canvas of the start picture; similar, not equal: what is added begins with the picture's edges and not"
    " with grey, and the feather is another curve",
    "→ 扩展起始图片的画布；相近，但不完全相同：新增部分以图片边缘而非灰色开始，羽化曲线也不同",
)
_GROWN = 6
"""ComfyUI's default of grow_mask_by."""


def load(call: NodeCall) -> Mapping[str, Value]:
    """Load a picture, or only a mask of it; the imported file names it but doesn't contain it."""
    name = call.known("image")
    file = _PLACE.sub("", name).strip() if isinstance(name, str) else ""
    of_colours = str(call.known("channel", "alpha")).lower() in ("red", "green", "blue")
    picture = PictureValue(start=Start(call.name, file), size_reason=call.missing(_SIZE_UNKNOWN).reason)
    return made_of(call, picture, mask=Mask(file, of_colours))


def pad(call: NodeCall) -> Mapping[str, Value]:
    """Extend a start picture's canvas; the added part becomes a mask."""
    picture = picture_of(call)
    start, size = picture.start, picture.size
    sides = [side for name in ("left", "top", "right", "bottom") if isinstance(side := call.known(name, 0), int)]
    if start is None or picture.passes or start.padded_by or len(sides) < 4:
        return remake(call)
    left, top, right, bottom = sides
    feather = call.known("feathering", 0)
    larger = None if size is None else (size[0] + left + right, size[1] + top + bottom)
    made = replace(picture, start=replace(start, padded_by=call.name), size=larger).noted(
        call.note(_PADS, translated=True)
    )
    added = Mask(extend=(left, top, right, bottom), feather=feather if isinstance(feather, int) else 0)
    return made_of(call, made, mask=added)


def mask_latent(call: NodeCall) -> Mapping[str, Value]:
    """Set a noise mask on a latent, so that the unmasked part is kept."""
    picture = picture_of(call)
    if call.known("noise_mask", True) is not False:
        mask, note = _mask(call, picture)
        picture = picture.noted(note)
        if picture.start and mask:
            picture = replace(picture, start=replace(picture.start, mask=mask))
    return {**call.passed(), **made_of(call, picture)}


def _mask(call: NodeCall, picture: PictureValue) -> tuple[Mask | None, Note]:
    if picture.start is None or picture.passes:
        return None, call.note(_NO_START)
    mask = call.flow("mask", Mask)
    if mask is None:
        return None, call.note(_NO_MASK)
    rule = call.option("rule")
    if rule == "grey":
        grown = call.known("grow_mask_by", _GROWN)
        mask = replace(mask, feather=max(mask.feather, grown // 2 if isinstance(grown, int) else 0))
    return mask, call.note(_RULES[rule], translated=True)


def change_mask(call: NodeCall) -> Mapping[str, Value]:
    """Change a mask in an unsupported way."""
    mask = call.flow("mask", Mask)
    return {} if mask is None else {"mask": mask.changed_by(call.name)}


def picture_as_mask(call: NodeCall) -> Mapping[str, Value]:
    """Convert a loaded picture's brightness or transparency to a mask."""
    picture = picture_of(call)
    if picture.start is None or picture.passes:
        return {}
    of_colours = str(call.known("channel", "red")).lower() != "alpha"
    return {"mask": Mask(picture.start.file, of_colours, changes=picture.changes)}


def differential(call: NodeCall) -> Mapping[str, Value]:
    """Enable differential diffusion for samplers whose latent is masked."""
    return {"model": replace(call.model(), differential=call.plain("strength") or Plain(1.0))}


ROLES = {
    "load picture": load,
    "pad": pad,
    "mask latent": mask_latent,
    "change mask": change_mask,
    "picture as mask": picture_as_mask,
    "differential": differential,
}
