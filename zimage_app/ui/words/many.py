"""Texts of the view of grids and batches, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

MANY_WORDS: dict[str, Text] = {
    "view_many": Text("Grids & batches", "网格与批量"),
    # Grids.
    "many_grid": Text("Grid", "参数网格"),
    "many_grid_about": Text(
        "The picture as it is set at the left, with one to three settings varied: X are columns, Y rows, Z sheets.",
        "以左侧的参数为准，变化一到三项：X 为横向，Y 为纵向，Z 为分页。",
    ),
    "many_axis": Text("{axis} axis", "{axis} 轴"),
    "many_field": Text("{axis} axis: setting", "{axis} 轴：参数"),
    "many_values": Text("{axis} axis: values", "{axis} 轴：取值"),
    "many_unused": Text("Nothing", "不使用"),
    "many_whole": Text("Whole picture", "整体"),
    "many_stage": Text("Stage {stage}", "第 {stage} 阶段"),
    "many_knob": Text("Stage {stage}: {title}", "第 {stage} 阶段 {title}"),
    "many_replace": Text("Prompt: replace a word", "提示词：替换词语"),
    "many_lora": Text("LoRA", "LoRA"),
    "many_preset": Text("Preset", "预设"),
    "many_size": Text("Size", "尺寸"),
    "many_hint_number": Text(
        "Values between commas, or FROM..TO/STEP; {low} to {high}",
        "用逗号或顿号分隔，或写 起..止/步长；{low} 到 {high}",
    ),
    "many_hint_text": Text(
        "Values between commas or semicolons; with those inside, a JSON list",
        "用逗号、顿号或分号分隔；值内含这些符号时请用 JSON 列表",
    ),
    "many_hint_choice": Text("Between commas, of: {choices}", "用逗号分隔，可选：{choices}"),
    "many_hint_replace": Text(
        "First the word that is replaced, then the others: cat, dog, fox", "先写要替换的词，再写其他词：猫, 狗, 狐狸"
    ),
    "many_hint_lora": Text(
        "NAME=STRENGTH between commas; none for no LoRA", "名称=强度，用逗号分隔；none 表示不用 LoRA"
    ),
    "many_hint_size": Text("As in 672x864, 1:1, 3:4", "例如 672x864、1:1、3:4"),
    "many_pictures": Text("Pictures: {count}; {words}.", "共 {count} 张；{words}。"),
    "many_start_grid": Text("Make the grid", "开始生成网格"),
    # Batches.
    "many_batch": Text("Batch file", "批量文件"),
    "many_batch_about": Text(
        "A picture for each entry of a text file (a prompt a line), CSV, JSON, JSONL, YAML, or a persona with tweets."
        " What entries leave open is as set at the left.",
        "为文件的每一项生成一张图片：文本（每行一条提示词）、CSV、JSON、JSONL、YAML，或人设加推文。未写明的参数以左侧为准。",
    ),
    "many_choose": Text("Choose a file, or drop it here", "选择文件，或拖到这里"),
    "many_too_big": Text("{name} is bigger than 3 MB; split it.", "{name} 超过 3 MB，请拆分。"),
    "many_no_text": Text("{name} is not UTF-8; save it as that.", "{name} 不是 UTF-8 编码，请另存。"),
    "many_column_index": Text("No.", "序号"),
    "many_column_name": Text("File", "文件名"),
    "many_column_size": Text("Size", "尺寸"),
    "many_column_seed": Text("Seed", "种子"),
    "many_column_prompt": Text("Prompt", "提示词"),
    "many_start_batch": Text("Make the pictures ({count})", "开始生成 {count} 张"),
    # The list of started grids and batches.
    "many_groups": Text("Asked for", "已提交"),
    "many_none": Text("No grids and batches yet.", "还没有网格或批量任务。"),
    "many_progress": Text("{done} of {total} done", "已完成 {done} / {total}"),
    "many_failed": Text("{count} failed", "失败 {count}"),
    "many_cancelled": Text("{count} cancelled", "取消 {count}"),
    "many_cancel": Text("Cancel the rest", "取消剩余"),
    "many_sheet": Text("Sheet {number} (PNG)", "第 {number} 页拼图（PNG）"),
    "many_page": Text("Page (HTML)", "网页（HTML）"),
    "many_manifest": Text("Manifest", "清单"),
    "many_remove": Text("Remove", "移除"),
    "many_remove_about": Text(
        "Sheets and manifest go; the pictures stay in the history", "移除拼图和清单；图片仍保留在历史中"
    ),
    "many_gone": Text("This group is no longer there.", "这一组已不存在。"),
    "many_no_gpu": Text(
        "This Space lends its GPU for single pictures; grids and batches need a copy of the app of your own.",
        "此 Space 的 GPU 只借给单张图片；网格和批量请在自己的副本中使用。",
    ),
    "many_unreachable": Text("The app doesn't answer; it may have stopped.", "程序没有响应，可能已停止。"),
}
