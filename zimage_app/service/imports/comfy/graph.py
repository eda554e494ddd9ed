"""A ComfyUI graph as data: nodes with values and links. Reads the API form; ``editor.py`` converts the editor's form.

Independent of node classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zimage_app.service.imports.draft import import_error, shown

MAX_NODES = 5000

UNREAD: Any = object()
"""Marks a field whose value is in the file but can't be assigned to it."""

CUT: Any = object()
"""Marks an input whose link leads to nothing, so that no value reaches it."""

Link = tuple[str, int]
"""(id of the source node, number of its output)."""


@dataclass(slots=True)
class Node:
    """A node of a graph."""

    id: str
    kind: str
    """The node's class, such as ``KSampler``."""
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    """Values of the node's own fields."""
    links: dict[str, Link] = field(default_factory=dict)
    """Inputs linked to other nodes."""
    outputs: tuple[tuple[str, str], ...] = ()
    """(name, type) of each output, if the file has them."""
    typed: bool = False
    """Whether values are as typed, with choices not drawn yet (editor form)."""

    @property
    def has_unnamed_values(self) -> bool:
        """Whether the file holds values of this node whose names aren't known."""
        return self.typed and any(name.startswith("value_") for name in self.values)

    @property
    def name(self) -> str:
        """The node's class, id and title, for messages."""
        own = f" “{shown(self.title)}”" if self.title and self.title != self.kind else ""
        return f"{shown(self.kind)} #{shown(self.id)}{own}"


Graph = dict[str, Node]


def api_graph(data: Mapping[str, Any]) -> Graph:
    """Read ComfyUI's API form: ``{"3": {"class_type": …, "inputs": {…}}}``; raises ImportedFileError as ``bounded``."""
    graph: Graph = {}
    for key, given in data.items():
        if not isinstance(given, Mapping) or not isinstance(given.get("class_type"), str):
            continue
        node = Node(str(key), given["class_type"], _title(given))
        inputs = given.get("inputs")
        for name, value in inputs.items() if isinstance(inputs, Mapping) else ():
            link = _link(value)
            if link:
                node.links[str(name)] = link
            else:
                node.values[str(name)] = value
        graph[node.id] = node
    bounded(len(graph))
    return graph


def bounded(nodes: int) -> None:
    """Raise ImportedFileError if a graph has too many nodes."""
    if nodes > MAX_NODES:
        raise import_error(
            f"This workflow has more than {MAX_NODES} nodes and is not read; save the part that makes the picture.",
            f"这个工作流超过 {MAX_NODES} 个节点，不予读取；请只保存生成图片的部分。",
        )


def in_order(graph: Graph) -> Iterator[Node]:
    """Yield all nodes in topological order; in a cycle, one link leads to a later node."""
    done: set[str] = set()
    for first in graph:
        waiting = [(first, False)]
        while waiting:
            key, ready = waiting.pop()
            if ready:
                yield graph[key]
            elif key not in done:
                done.add(key)
                waiting.append((key, True))
                waiting += [(begin, False) for begin, _ in graph[key].links.values() if begin in graph]


def _link(value: object) -> Link | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    named = isinstance(node, str) or (isinstance(node, int) and not isinstance(node, bool))
    return (str(node), slot) if named and isinstance(slot, int) and not isinstance(slot, bool) else None


def _title(given: Mapping[str, Any]) -> str:
    meta = given.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) else ""
