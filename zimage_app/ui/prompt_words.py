"""The words by the prompt and of the trigger words' chips, in Chinese and English. Knows no components."""

from __future__ import annotations

from zimage_app.domain.text import Text

PROMPT_WORDS: dict[str, Text] = {
    "prompt_history": Text("History", "历史"),
    "prompt_history_title": Text("Prompts of this browser (Alt+↑ / Alt+↓)", "本浏览器用过的提示词（Alt+↑ / Alt+↓）"),
    "prompt_history_search": Text("Search the prompts", "搜索提示词"),
    "prompt_history_none": Text(
        "Prompts that you have used will stand here. They stay in this browser.",
        "用过的提示词会出现在这里，仅保存在本浏览器。",
    ),
    "prompt_history_no_match": Text("No prompt matches.", "没有匹配的提示词。"),
    "prompt_history_clear": Text("Delete all", "全部删除"),
    "prompt_history_clear_sure": Text("Really delete all?", "确定全部删除？"),
    "prompt_history_undo": Text("Undo", "撤销"),
    "prompt_history_cleared": Text("Deleted.", "已删除。"),
    "prompt_history_pin": Text("Pin: {text}", "置顶：{text}"),
    "prompt_history_delete": Text("Delete: {text}", "删除：{text}"),
    "prompt_history_unsent": Text("not sent", "未生成"),
    "prompt_wildcards": Text("Wildcards", "通配符"),
    "prompt_wildcards_title": Text("Lists of which one line is drawn", "从列表中随机取一行"),
    "prompt_wildcards_search": Text("Search names and lines", "搜索名称或内容"),
    "prompt_wildcards_about": Text(
        "{red|blue} draws one, {2::red|blue} red twice as often; __time__ draws a line of the list. The seed decides.",
        "{红|蓝} 任选其一，{2::红|蓝} 红的概率加倍；__时间__ 取列表中的一行。由种子决定结果。",
    ),
    "prompt_wildcards_own": Text(
        "Your own lists: text files under presets/wildcards/.", "自己的列表：放入 presets/wildcards/ 的 txt 文件。"
    ),
    "prompt_wildcards_none": Text("There are no lists yet.", "还没有列表。"),
    "prompt_wildcards_no_match": Text("Nothing matches.", "没有匹配的列表。"),
    "prompt_wildcards_look": Text("Lines of {name}", "{name} 的内容"),
    "prompt_wildcards_insert": Text("Insert {text}", "插入 {text}"),
    "prompt_refresh": Text("Refresh", "刷新"),
    "prompt_unreachable": Text("The app can't be reached; it may have stopped.", "无法连接程序，它可能已停止。"),
    "prompt_ways": Text("{ways} combinations", "{ways} 种组合"),
    "prompt_tokens": Text("{tokens} tokens", "{tokens} 词元"),
    "prompt_tokens_of": Text("{tokens} of at most {limit} tokens", "{tokens} 个词元，最多 {limit} 个"),
    "reads": Text("The model reads:", "模型读到："),
    "reads_example": Text("For example:", "例如："),
    "reads_another": Text("Another example", "换一个例子"),
    "trigger_words": Text("Trigger words", "触发词"),
    "trigger_add": Text("Add a trigger word; Enter or comma ends it", "输入触发词，按回车或逗号确认"),
    "trigger_add_short": Text("+ trigger word", "+ 触发词"),
    "trigger_remove": Text("Remove trigger word {word}", "移除触发词 {word}"),
    "trigger_of": Text("{word}, of LoRA {name}", "{word}（LoRA {name}）"),
    "trigger_held": Text("stands in the prompt already, and is read once", "提示词中已有，不会重复"),
    "trigger_moved": Text("{word} is number {place} of {count}", "{word} 已移到第 {place} 位（共 {count} 个）"),
    "trigger_removed": Text("{word} removed", "已移除 {word}"),
    "trigger_keys": Text(
        "Arrow keys go from word to word, Alt with an arrow key moves one, Delete removes it; they can be dragged too.",
        "方向键切换，Alt+方向键移动，Delete 移除；也可拖动排序。",
    ),
}
