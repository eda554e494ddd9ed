"""Texts of importing files by drop or button, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

DROP_WORDS: dict[str, Text] = {
    "drop_choose": Text("Picture or workflow: drop or choose", "图片或工作流：拖入或选择"),
    "drop_hint": Text(
        "To take settings over, or to start from a picture. Pictures of ours, ComfyUI, A1111/Forge, SD.Next, SwarmUI,"
        " InvokeAI and others; ComfyUI workflows (JSON)."
        " Drop one anywhere, too.",
        "导入参数，或以图生图。"
        "支持本程序、ComfyUI、A1111/Forge、SD.Next、SwarmUI、InvokeAI 等程序的图片和 ComfyUI 工作流（JSON）；"
        "也可拖到页面任意位置。",
    ),
    "drop_here": Text("Drop it: take its settings, or start from it", "松开：导入参数，或以此图生图"),
    "drop_choices": Text("What to do with this picture", "如何使用这张图片"),
    "drop_undo": Text("Undo", "撤销"),
    "drop_use": Text("Use its settings", "使用此参数"),
    "drop_plain": Text("Start from this picture?", "以此图生图？"),
    "drop_begin": Text("Start from this picture", "以此图生图"),
    "drop_reading": Text("Reading {name}…", "正在读取 {name}…"),
    "drop_from": Text("{name}: settings of {source}", "{name}：{source} 的参数"),
    "drop_taken": Text("Taken ({count})", "已取用（{count}）"),
    "drop_translated": Text("Translated ({count})", "已转换（{count}）"),
    "drop_left": Text("Not carried over ({count})", "未带入（{count}）"),
    "drop_all": Text("Everything was carried over.", "全部参数都已带入。"),
    "drop_start": Text("It begins with {file}: choose it as start picture.", "它从 {file} 开始：请将其选为起始图片。"),
    "drop_unread": Text(
        "Not read: {count} of {all} files; drop them one at a time.",
        "共 {all} 个文件，其中 {count} 个未读取；请逐个拖入。",
    ),
    "drop_foreign": Text(
        "This picture is on another site, which this app doesn't ask; save it, then drop the file.",
        "这张图片在其他网站上，本程序不会访问；请先保存，再拖入文件。",
    ),
    "drop_close": Text("Close", "关闭"),
    "drop_too_big": Text("{name} is bigger than 64 MB.", "{name} 超过 64 MB。"),
    "drop_unreachable": Text("The file could not be read; the app may have stopped.", "文件无法读取，程序可能已停止。"),
    "drop_filled": Text("The file's settings were put in.", "已填入文件中的参数。"),
}
