"""Texts of the stages' tabs, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

STAGE_WORDS: dict[str, Text] = {
    "stage_off": Text("off", "关闭"),
    "stage_skipped": Text("skipped", "跳过"),
    "stage_add": Text("Add a stage", "添加阶段"),
    "stage_removed": Text("Stage {stage} was removed.", "已删除第 {stage} 阶段。"),
    "stage_idle": Text("This stage does not run.", "本阶段不会执行。"),
    "stage_total": Text("All stages", "全部阶段"),
    "stage_copy": Text("Copy", "复制"),
    "stage_delete": Text("Remove", "删除"),
    "stage_duplicate": Text("Duplicate stage {stage}", "复制第 {stage} 阶段"),
    "stage_left": Text("Move stage {stage} to the left", "第 {stage} 阶段左移"),
    "stage_right": Text("Move stage {stage} to the right", "第 {stage} 阶段右移"),
    "stage_remove": Text("Remove stage {stage}", "删除第 {stage} 阶段"),
}
