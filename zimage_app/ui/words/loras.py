"""Texts of the LoRA list and its picker, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

LORA_WORDS: dict[str, Text] = {
    "loras": Text("LoRA", "LoRA"),
    "lora_add": Text("Add", "添加"),
    "lora_none": Text(
        "No LoRA chosen. <lora:name:0.8> in the prompt works too.", "尚未选择。也可在提示词里写 <lora:名称:0.8>。"
    ),
    "lora_strength": Text("Strength of {name}", "{name} 的强度"),
    "lora_off": Text("off", "已关闭"),
    "lora_stages": Text("Stages", "阶段"),
    "lora_stage": Text("{name}: act in stage {stage}", "{name}：作用于第 {stage} 阶段"),
    "lora_words": Text("Trigger words of {name}", "{name} 的触发词"),
    "lora_up": Text("Move {name} up", "上移 {name}"),
    "lora_down": Text("Move {name} down", "下移 {name}"),
    "lora_remove": Text("Remove {name}", "移除 {name}"),
    "lora_details": Text("Details and notes of {name}", "{name} 的详情与备注"),
    "lora_gone": Text("not in the loras folder any more", "loras 文件夹中已没有这个文件"),
    "lora_another": Text(
        "another file than the one of the picture whose settings these are", "与这些参数所属图片用的不是同一个文件"
    ),
    "lora_too_many": Text("At most {most} LoRAs at once.", "最多同时使用 {most} 个 LoRA。"),
    "lora_pick": Text("Choose LoRAs", "选择 LoRA"),
    "lora_search": Text("Search by name, trigger word, base model", "按名称、触发词、底模搜索"),
    "lora_refresh": Text("Refresh", "刷新"),
    "lora_done": Text("Done", "完成"),
    "lora_count": Text("{shown} of {all}", "{shown} / {all} 个"),
    "lora_empty": Text(
        "There is no LoRA yet. Put .safetensors files into the loras folder, then press Refresh.",
        "还没有 LoRA。请把 .safetensors 文件放进 loras 文件夹，然后点「刷新」。",
    ),
    "lora_no_match": Text("Nothing matches.", "没有匹配的结果。"),
    "lora_file": Text("File", "文件"),
    "lora_kind": Text("Kind", "类型"),
    "lora_rank": Text("rank {rank}", "秩 {rank}"),
    "lora_size": Text("Size", "大小"),
    "lora_base": Text("Base model", "底模"),
    "lora_note_triggers": Text("My trigger words", "我的触发词"),
    "lora_note_strength": Text("My strength", "我的强度"),
    "lora_note": Text("My note", "我的备注"),
    "lora_save": Text("Save notes", "保存备注"),
    "lora_saved": Text("Saved beside the file", "已保存在文件旁"),
}
