"""Texts of the start picture and of the picture's size, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

START_WORDS: dict[str, Text] = {
    "start_resized": Text("resized by {by}", "缩放：{by}"),
    "size_final": Text("Size of the picture", "成片尺寸"),
    "size_help": Text(
        "Of the finished picture; all stages follow in proportion. Multiples of 16.",
        "成片的尺寸，所有阶段按比例跟随；须为 16 的倍数。",
    ),
    "size_one_shape": Text("Give all stages this shape", "各阶段统一为此比例"),
    "size_swap": Text("Swap width and height", "宽高互换"),
    "start_reading": Text("Taking {name}…", "正在读取 {name}…"),
    "start_stage": Text("Starts at stage", "起始阶段"),
    "start_stage_gone": Text("{stage} (not there)", "{stage}（不存在）"),
    "start_fit": Text("Fit", "适配"),
    "start_crop": Text("Crop", "裁剪"),
    "start_stretch": Text("Stretch", "拉伸"),
    "start_denoise": Text("denoise {denoise}", "重绘幅度 {denoise}"),
    "start_alt": Text("Start picture", "起始图片"),
    "start_remove": Text("Don't start from a picture", "移除起始图片"),
    "start_gone": Text("This picture is not kept here any more; choose it again.", "该图片已不在本机，请重新选择。"),
    "start_too_big": Text("{name} is bigger than 32 MB.", "{name} 超过 32 MB。"),
    "start_unreachable": Text(
        "The picture could not be handed in; the app may have stopped.", "图片无法上传，程序可能已停止。"
    ),
}
