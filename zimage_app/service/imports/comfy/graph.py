"""A ComfyUI graph as data: nodes with values and links. The API form is this already; the editor's is in ``editor.py``.

Knows no node's meaning, but for those that only hand a value on (reroutes, primitives).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.errors import ImportedFileError
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import shown

MAX_NODES = 5000
_FURTHEST = 400
"""Nodes in a row; a chain that is longer is a circle or no workflow."""

Link = tuple[str, int]
"""(id of the node that the value comes from, number of its output)."""


@dataclass(slots=True)
class Node:
    """One node."""

    id: str
    kind: str
    """Its class, as ``KSampler``."""
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    """What is written in its own fields."""
    links: dict[str, Link] = field(default_factory=dict)
    """Inputs that come from another node."""

    @property
    def name(self) -> str:
        """How to tell a user of it."""
        own = f" “{shown(self.title)}”" if self.title and self.title != self.kind else ""
        return f"{shown(self.kind)} #{shown(self.id)}{own}"


Graph = dict[str, Node]

REROUTES = ("Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss", "easy reroute")
_VALUE = (
    "value",
    "Value",
    "int",
    "float",
    "number",
    "string",
    "text",
    "String",
    "Text",
    "seed",
    "INT",
    "FLOAT",
    "value_0",
)
"""Fields in which nodes that only hold one value keep it."""


def api_graph(data: Mapping[str, Any]) -> Graph:
    """The form in which ComfyUI runs a graph: ``{"3": {"class_type": …, "inputs": {…}}}``."""
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
    """Raise ImportedFileError for a graph of too many nodes."""
    if nodes > MAX_NODES:
        raise ImportedFileError(
            Text(
                f"This workflow has more than {MAX_NODES} nodes and is not read; save the part that makes the picture.",
                f"这个工作流超过 {MAX_NODES} 个节点，不予读取；请只保存生成图片的部分。",
            )
        )


def source(graph: Graph, node: Node, names: Iterable[str]) -> Link | None:
    """Where the first of the inputs named comes from, past reroutes; None where it is linked to nothing."""
    link = next((node.links[name] for name in names if name in node.links), None)
    for _ in range(_FURTHEST):
        if link is None or link[0] not in graph:
            return None
        at = graph[link[0]]
        if at.kind not in REROUTES:
            return link
        link = next(iter(at.links.values()), None)
    return None


def value(graph: Graph, node: Node, *names: str) -> Any:
    """What the first of the fields named holds, also where another node gives it; None where that isn't known."""
    for _ in range(_FURTHEST):
        link = source(graph, node, names)
        if link is None:
            return next((node.values[name] for name in names if name in node.values), None)
        node, names = graph[link[0]], _VALUE
        if len(node.values) == 1 and not node.links:
            return next(iter(node.values.values()))
    return None


def origin(graph: Graph, node: Node, *names: str) -> Node | None:
    """The node that gives the first of the inputs named."""
    link = source(graph, node, names)
    return None if link is None else graph[link[0]]


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
