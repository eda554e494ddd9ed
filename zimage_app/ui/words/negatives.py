"""Texts of the library of negative prompts, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

NEGATIVE_WORDS: dict[str, Text] = {
    "negatives": Text("Library of negative prompts", "反向提示词库"),
    "negatives_summary": Text("Negative prompt library", "反向词库"),
    "negatives_chosen": Text("{count} chosen", "已选 {count} 条"),
    "negatives_tokens": Text("Tokens: {tokens}", "{tokens} 个词元"),
    "negatives_search": Text("Search in Chinese or English", "搜索，中英文皆可"),
    "negatives_favourites": Text("Favourites", "收藏"),
    "negatives_no_favourites": Text("Mark entries with ☆ to find them here.", "点词条旁的 ☆，即可收藏在这里。"),
    "negatives_no_match": Text("Nothing matches.", "没有匹配的词条。"),
    "negatives_mark": Text("Favourite: {entry}", "收藏：{entry}"),
    "negatives_remove": Text("Delete my entry {entry}", "删除我的词条 {entry}"),
    "negatives_remove_sure": Text("Really delete?", "确定删除？"),
    "negatives_new": Text("My own entry", "自己的词条"),
    "negatives_new_meaning": Text("English (optional)", "英文（可不填）"),
    "negatives_add": Text("Add", "添加"),
    "negatives_refresh": Text("Refresh", "刷新"),
    "negatives_unreachable": Text(
        "The library can't be reached; the app may have stopped.", "无法取得词库，程序可能已停止。"
    ),
    "negatives_guide": Text(
        "Without effect in stage {stages}. Switch NAG on there (about {percent} % more time)",
        "在第 {stages} 阶段不起作用。点此启用 NAG（用时约增加 {percent}%）",
    ),
    "negatives_guide_many": Text(
        "Without effect in stages {stages}. Switch NAG on there (about {percent} % more time)",
        "在第 {stages} 阶段不起作用。点此启用 NAG（用时约增加 {percent}%）",
    ),
    "negatives_joint": Text(", ", "、"),
}
