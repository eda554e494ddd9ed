"""Converts a graph's start picture and mask to settings; the graph only names the files, so the user supplies them."""

from __future__ import annotations

from typing import Any

from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.stages import report_notes
from zimage_app.service.imports.comfy.values import Mask, Missing, PictureValue, Plain, Start, note_of
from zimage_app.service.imports.draft import Draft, NamedStartPicture, shown

_MASK = knob_of(StartPicture, "mask").title
_DIFFERENTIAL = knob_of(StartPicture, "differential").title
_UNNAMED = Text(
    "the picture that stage 1 begins with is not in this file; choose it as start picture, or stage 1 draws from"
    " nothing",
    "第 1 阶段的起始图片不在这个文件里；请将它选为起始图片，否则第 1 阶段将从零开始画",
)
_CANVAS = Text(
    "its larger canvas is not carried over, because its mask is not used", "没有使用它的蒙版，因此扩展的画布未带入"
)
_CHANGES_MASK = Text(
    "what it does to the mask is not carried over; do it before you choose the mask",
    "它对蒙版的处理未带入；请先处理好蒙版再选择",
)
_UNMASKED = Text("has no effect without a mask", "没有蒙版时不起作用")
_EACH_STAGE = Text(
    "each stage keeps the picture at its own size; ComfyUI keeps the enlarged result of the stage before",
    "各阶段按自身尺寸保留原图；ComfyUI 保留的是前一阶段放大的结果",
)


def add_start(draft: Draft, picture: PictureValue) -> None:
    """Add the start picture of the finished ``picture`` to the draft."""
    start = picture.start
    mask = start.mask if start else None
    strength = picture.passes[0].model.differential
    if strength is not None and mask is None:
        draft.report_left_out(_DIFFERENTIAL, _UNMASKED.en, _UNMASKED.zh)
    if start is None:
        return
    report_notes(draft, [note_of(start.node, _named(start.file) if start.file else _UNNAMED)])
    if start.padded_by and not (mask and any(mask.extend)):
        report_notes(draft, [note_of(start.padded_by, _CANVAS)])
    settings: dict[str, Any] = {} if start.fit == "crop" else {"fit": start.fit}
    if mask is None:
        draft.start = NamedStartPicture(start.file, settings)
        return
    settings |= {"extend": list(mask.extend)} if any(mask.extend) else {}
    settings |= {"feather": mask.feather} if mask.feather else {}
    settings["paste"] = False
    if isinstance(strength, Plain):
        settings["differential"] = strength.data
    elif isinstance(strength, Missing):
        draft.report_left_out(_DIFFERENTIAL, strength.reason.en, strength.reason.zh)
    _report_mask(draft, start, mask, len(picture.passes))
    own = _is_own(start, mask)
    draft.start = NamedStartPicture(start.file, settings, "" if own else mask.file, own_mask=own)


def _is_own(start: Start, mask: Mask) -> bool:
    return bool(mask.file) and mask.file == start.file and not mask.of_colours


def _report_mask(draft: Draft, start: Start, mask: Mask, passes: int) -> None:
    file = shown(mask.file)
    if _is_own(start, mask):
        own = Text(f"{_MASK.en}: what is transparent in {file}", f"{_MASK.zh}：{file} 的透明部分")
        draft.translated.append(own)
    elif mask.file:
        draft.report_left_out(
            _MASK,
            f"{file} is not in this file; choose it as mask, or paint it",
            f"{file} 不在这个文件里；请选择它作为蒙版，或手动涂抹",
        )
    elif not any(mask.extend):
        draft.report_left_out(_MASK, "it is not in this file; paint it", "不在这个文件里；请手动涂抹")
    report_notes(draft, [note_of(name, _CHANGES_MASK) for name in mask.changes])
    if passes > 1:
        draft.report_left_out(_MASK, _EACH_STAGE.en, _EACH_STAGE.zh)


def _named(file: str) -> Text:
    return Text(
        f"stage 1 begins with the picture {shown(file)}, which is not in this file; choose it as start picture, or"
        " stage 1 draws from nothing",
        f"第 1 阶段从图片 {shown(file)} 开始，而它不在这个文件里；请将它选为起始图片，否则第 1 阶段将从零开始画",
    )
