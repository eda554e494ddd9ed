"""Translates argparse's error messages, which are in English only."""

from __future__ import annotations

import re

from zimage_app.domain.text import Text

_CHINESE = {
    r"^argument ([^:]+): ": r"\1：",
    r"unrecognized arguments: (.+)$": r"没有这样的选项：\1",
    r"the following arguments are required: (.+)$": r"缺少 \1",
    r"one of the arguments (.+) is required$": r"\1 至少需要给出一个",
    r"not allowed with argument (.+)$": r"不能与 \1 同时使用",
    r"ambiguous option: (.+) could match (.+)$": r"\1 不明确，可能是 \2",
    r"ignored explicit argument (.+)$": r"不接受值 \1",
    r"invalid choice: (.+) \(choose from (.+)\)$": r"没有 \1，可选 \2",
    r"invalid int value: (.+)$": r"\1 不是整数",
    r"invalid float value: (.+)$": r"\1 不是数字",
    r"invalid \w+ value: (.+)$": r"\1 无效",
    r"expected one argument$": r"需要一个值",
    r"expected at least one argument$": r"至少需要一个值",
    r"expected (\d+) arguments?$": r"需要 \1 个值",
}
"""Patterns of its messages, and their Chinese translation. Other messages stay English."""


def flag_error(message: str) -> Text:
    """An error message of argparse as a sentence without its end."""
    chinese = message
    for pattern, words in _CHINESE.items():
        chinese = re.sub(pattern, words, chinese, count=1, flags=re.DOTALL)
    return Text(message, chinese)
