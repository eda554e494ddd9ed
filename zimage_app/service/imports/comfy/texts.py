"""The words that a conditioning comes from: through text nodes, joins, and what changes a conditioning on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.graph import Graph, Link, Node, source

_FURTHEST = 200
_MOST_TEXTS = 64
_LONGEST = 100_000
"""Characters that are looked at; far more than a prompt may have."""
_SEPARATOR_NAMES = frozenset({"delimiter", "separator", "Separator", "clean_whitespace"})
_ENCODER_TEXTS = ("text", "prompt", "positive", "text_g", "clip_l", "t5xxl", "user_prompt", "value_0")
_NO_TEXT = frozenset({"lumina2", "qwen_image", "system_prompt", "mode", "action", "filename_prefix", "model", "title"})
_DEFAULT_DELIMITERS = {"Text Concatenate": ", "}


@dataclass(slots=True)
class Words:
    """A prompt, and what of its making is not carried over."""

    text: str | None = None
    zeroed: bool = False
    """Whether ConditioningZeroOut blanks it."""
    joined: list[Node] = field(default_factory=list)
    """Nodes that put it together from several texts."""
    lost: list[tuple[Node, Text]] = field(default_factory=list)


_CHANGED = Text("what it does to the prompt is not carried over", "它对提示词的处理没有带过来")
_FIRST_ONLY = Text("of several conditionings the first is taken", "多个条件中只取第一个")
_NOT_WRITTEN = Text(
    "its text is made when the workflow runs and is not in the file", "它的文字在运行时才生成，文件里没有"
)


def words_of(graph: Graph, link: Link | None) -> Words:
    """Follow a conditioning back to its text."""
    words = Words()
    for _ in range(_FURTHEST):
        if link is None or link[0] not in graph:
            return words
        node = graph[link[0]]
        if _encodes(node):
            words.text = _encoded(graph, node, words)
            return words
        if node.kind == "ConditioningZeroOut":
            words.zeroed = True
        elif len([name for name in node.links if name.startswith("conditioning")]) > 1:
            words.lost.append((node, _FIRST_ONLY))
        else:
            words.lost.append((node, _CHANGED))
        link = _before(graph, node, link[1])
    return words


def _encodes(node: Node) -> bool:
    return "TextEncode" in node.kind or (
        "clip" in node.links and any(name in node.values for name in ("text", "prompt"))
    )


def _before(graph: Graph, node: Node, slot: int) -> Link | None:
    """The conditioning that a node changes: of a pair the one in the output's place."""
    pair = ("positive", "negative")
    if set(pair) <= set(node.links):
        return source(graph, node, (pair[slot] if slot in (0, 1) else pair[0],))
    names = [name for name in node.links if name.startswith(("conditioning", "cond"))]
    return source(graph, node, (*names, *pair))


def _encoded(graph: Graph, node: Node, words: Words) -> str | None:
    names = [name for name in _ENCODER_TEXTS if name in node.links or isinstance(node.values.get(name), str)]
    if not names:
        return None
    link = source(graph, node, names[:1]) if names[0] in node.links else None
    if link is None:
        text = node.values.get(names[0])
        return text if isinstance(text, str) else None
    return _text(graph, graph[link[0]], words, _FURTHEST, [_MOST_TEXTS])


def _text(graph: Graph, node: Node, words: Words, far: int, left: list[int]) -> str | None:
    """What a text node gives. ``left`` counts down the texts, which may come from one node many times over."""
    left[0] -= 1
    if far <= 0 or left[0] < 0:
        return None
    parts: list[str] = []
    for name in _text_names(node):
        link = source(graph, node, (name,))
        part = _text(graph, graph[link[0]], words, far - 1, left) if link else node.values.get(name)
        if isinstance(part, str) and part.strip():
            parts.append(part[:_LONGEST])
    if not parts:
        words.lost.append((node, _NOT_WRITTEN))
        return None
    if len(parts) > 1:
        words.joined.append(node)
    return _delimiter(node).join(parts)[:_LONGEST]


def _text_names(node: Node) -> list[str]:
    """The fields of a text node that hold text, in the order of their names where they are numbered or lettered."""
    names: Mapping[str, object] = {**node.values, **node.links}
    kept = [
        name
        for name in names
        if name not in _SEPARATOR_NAMES
        and name not in _NO_TEXT
        and (name in node.links or isinstance(node.values[name], str))
        and name not in ("clip", "model", "vae", "image")
    ]
    if any(name in ("string_a", "text_a", "text1", "string1", "text_1", "string_1") for name in kept):
        kept = sorted(name for name in kept if name.startswith(("string", "text")))
    elif len(kept) > 1 and not any(name in node.links for name in kept):
        usual: list[str] = [name for name in ("value", "text", "string", "prompt") if name in kept]
        kept = (usual or kept)[:1]
    return kept


def _delimiter(node: Node) -> str:
    given = next((node.values[name] for name in ("delimiter", "separator", "Separator") if name in node.values), None)
    if not isinstance(given, str):
        return _DEFAULT_DELIMITERS.get(node.kind, "")
    return given.replace("\\n", "\n")
