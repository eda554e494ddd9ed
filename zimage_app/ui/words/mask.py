"""Texts of the mask editor, in Chinese and English; titles of settings are in ``domain/settings/``."""

from __future__ import annotations

from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text

_KNOBS = {field: knob_of(StartPicture, field) for field in ("extend", "feather", "differential", "paste")}

MASK_WORDS: dict[str, Text] = {
    "mask_open": Text("Redraw a part…", "局部重绘 / 扩图…"),
    "mask_edit": Text("Edit the mask…", "编辑蒙版…"),
    "mask_set": Text("A part is redrawn", "只重绘一部分"),
    "mask_title": Text("What is redrawn", "选择重绘区域"),
    "mask_apply": Text("Use it", "使用蒙版"),
    "mask_cancel": Text("Cancel", "取消"),
    "mask_escape": Text(
        "Press Esc again to lose what you painted; to keep it, press Use it.",
        "再按一次 Esc 将放弃涂抹的内容；要保留请点「使用蒙版」。",
    ),
    "mask_surface": Text(
        "Picture; paint what is to be redrawn. Arrow keys move the brush, Space paints, [ and ] change its size.",
        "图片：涂抹要重绘的部分。方向键移动画笔，空格键涂抹，[ 和 ] 调整大小。",
    ),
    "mask_paint": Text("Paint", "涂抹"),
    "mask_erase": Text("Erase", "擦除"),
    "mask_move": Text("Move", "移动"),
    "mask_brush": Text("Brush, pixels", "画笔大小（像素）"),
    "mask_undo": Text("Undo", "撤销"),
    "mask_redo": Text("Redo", "重做"),
    "mask_invert": Text("Invert", "反选"),
    "mask_clear": Text("Clear", "清空"),
    "mask_zoom_in": Text("Zoom in", "放大"),
    "mask_zoom_out": Text("Zoom out", "缩小"),
    "mask_whole": Text("Show all", "显示全部"),
    "mask_left": Text("Left", "左"),
    "mask_top": Text("Top", "上"),
    "mask_right": Text("Right", "右"),
    "mask_bottom": Text("Bottom", "下"),
    "mask_canvas": Text("Canvas {width}×{height}", "画布 {width}×{height}"),
    "mask_shape": Text("Give the stages this shape", "让各阶段采用此比例"),
    "mask_shaped": Text("With Use it, the stages get this shape.", "点「使用蒙版」后，各阶段将采用此比例。"),
    "mask_nothing": Text("Nothing is marked: all of the picture is redrawn.", "没有选择区域：将重绘整张图片。"),
    "mask_part": Text("{percent} % of the canvas is redrawn.", "将重绘画布的 {percent}%。"),
    "mask_pasted": Text("The kept part is pasted back", "保留部分已贴回原像素"),
    "mask_decoded": Text("The kept part is as the VAE decodes it", "保留部分为 VAE 解码结果"),
    "mask_everything": Text("Everything is marked: nothing is kept.", "已全部选中：不保留任何部分。"),
    **{f"mask_{field}": knob.title for field, knob in _KNOBS.items()},
    **{f"mask_{field}_help": knob.help for field, knob in _KNOBS.items()},
}
