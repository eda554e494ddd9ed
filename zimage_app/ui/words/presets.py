"""Texts of the preset bar, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

PRESET_WORDS: dict[str, Text] = {
    "presets": Text("Presets", "预设"),
    "presets_choose": Text("Choose a preset…", "选择预设…"),
    "presets_model": Text("Of the chosen model", "当前模型"),
    "presets_recommended": Text("Recommended settings", "推荐参数"),
    "presets_recommended_about": Text(
        "All stages as the chosen model's card recommends them; everything else stays.",
        "各阶段采用当前模型的推荐参数，其余设置不变。",
    ),
    "presets_single_stage": Text("Single stage", "单阶段直出"),
    "presets_single_stage_about": Text(
        "Straight to the picture's size in one stage; everything else stays.", "一个阶段直接出图，其余设置不变。"
    ),
    "presets_shipped": Text("Come with the app", "自带"),
    "presets_mine": Text("My own", "我的"),
    "presets_apply": Text("Apply", "套用"),
    "presets_more": Text("Save, rename, delete", "保存、改名、删除"),
    "presets_same": Text("All of it is set.", "当前参数与预设一致。"),
    "presets_differ": Text("Settings that differ: {count}", "{count} 项与预设不同"),
    "presets_setting": Text("Setting", "设置"),
    "presets_preset": Text("Preset", "预设"),
    "presets_now": Text("Now", "当前"),
    "presets_name": Text("Name of the preset", "预设名称"),
    "presets_whole": Text("with prompt and seed", "含提示词和种子"),
    "presets_save": Text("Save as", "另存"),
    "presets_replace": Text("Replace", "覆盖"),
    "presets_rename": Text("Rename", "改名"),
    "presets_delete": Text("Delete", "删除"),
    "presets_delete_sure": Text("Really delete?", "确定删除？"),
    "presets_reset": Text("Reset all", "全部重置"),
    "presets_saved": Text("Saved as {name}.", "已保存为 {name}。"),
    "presets_renamed": Text("Renamed to {name}.", "已改名为 {name}。"),
    "presets_deleted": Text("{name} was deleted.", "已删除 {name}。"),
    "presets_unreachable": Text(
        "The presets can't be reached; the app may have stopped.", "无法取得预设，程序可能已停止。"
    ),
    "presets_applied": Text("The preset {title} was put in.", "已填入预设「{title}」。"),
    "presets_no_model": Text(
        "The preset {title} is for the model {model}, which is not here; the rest of it was put in.",
        "预设「{title}」用于模型 {model}，而这里没有该模型；其余参数已填入。",
    ),
    "presets_reset_done": Text(
        "Everything but the prompt is as the model recommends.", "除提示词外，已全部恢复为模型推荐的参数。"
    ),
}
