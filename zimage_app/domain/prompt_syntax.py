"""Warnings about prompt syntax of other tools that this model reads as plain text; wildcards are not covered.

Z-Image reads whole sentences: in ComfyUI too, ``(word:1.3)`` reaches its text encoder unchanged (HOW-IT-COMPUTES.md
section 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from zimage_app.domain.text import Remark, Text, shortened

_NUMBER = r"\s*-?\d+(?:\.\d+)?\s*"
WEIGHT = re.compile(rf"(?<!\\)[(（][^()（）]*[^()（）\d\s][:：]{_NUMBER}[)）]")
"""``(word:1.3)``, but not ``(16:9)``; ``\\(`` is a plain bracket."""
_SCHEDULED = re.compile(rf"(?<!\\)\[[^\[\]]*:{_NUMBER}\]")
"""A1111's ``[from:to:0.5]``."""
_EMBEDDING = re.compile(r"\bembedding:[^\s,，()]+")
_BREAK = re.compile(r"\bBREAK\b")
_SHOWN = 40
_WHERE = {"prompt": Text("prompt", "提示词"), "negative": Text("negative prompt", "反向提示词")}


def unread_syntax(text: str, field: Literal["prompt", "negative"]) -> Iterator[Remark]:
    """One warning for each kind of syntax in ``text`` that means nothing to the model."""
    where = _WHERE[field]
    kinds = (
        (
            WEIGHT,
            Text(
                "weights mean nothing to this model; put what matters first", "这个模型不支持权重；重要的内容请写在前面"
            ),
        ),
        (_SCHEDULED, Text("switching words at a step is not supported", "不支持按步数切换词语")),
        (
            _EMBEDDING,
            Text(
                "embeddings are not supported; ComfyUI leaves the name out, so take it out for the same picture",
                "不支持 embedding；ComfyUI 会略去该名称，想得到相同图片请将其删除",
            ),
        ),
        (_BREAK, Text("the prompt is not cut into parts", "提示词不会分段")),
    )
    for pattern, reason in kinds:
        found = pattern.search(text)
        if found:
            shown = shortened(found[0], _SHOWN)
            yield Remark(
                f"{shown} in the {where.en} is read as plain text: {reason.en}.",
                f"{where.zh}中的 {shown} 会当作普通文字：{reason.zh}。",
                field,
            )
