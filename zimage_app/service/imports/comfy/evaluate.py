"""Evaluates a graph symbolically: each node once, after its sources, by the role in its row. Executes no node."""

from __future__ import annotations

from collections.abc import Mapping

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.catalogue import NodeKind, catalogue
from zimage_app.service.imports.comfy.graph import CUT, UNREAD, Graph, Node, in_order
from zimage_app.service.imports.comfy.node_call import UNNAMED, NodeCall, written
from zimage_app.service.imports.comfy.roles import ROLES
from zimage_app.service.imports.comfy.unknown_node import unknown_node
from zimage_app.service.imports.comfy.values import Bundle, Missing, Plain, UnknownNodeOutput, Value, missing
from zimage_app.service.imports.draft import import_error, shown

_ROUND = Text("its links go round in a circle", "它的连线形成了循环")
_MAX_DATA = 50_000_000
"""Maximum size of the texts, lists and pipes that go into and out of all nodes: thousands of nodes may share a text."""
_PIPE_PART = 100
"""Size that is counted for one value in a pipe."""
_NO_OUTPUT = Text("this output of it isn't known here", "无法识别它的这个输出")


class EvaluatedGraph:
    """An evaluated graph; raises ImportedFileError if its nodes handle too much data."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._made: dict[str, Mapping[str, Value] | UnknownNodeOutput] = {}
        self._inputs: dict[str, Mapping[str, Value]] = {}
        self._left = _MAX_DATA
        self._sizes: dict[int, int] = {}
        for node in in_order(graph):
            kind = catalogue().get(node.kind)
            inputs = self._inputs_of(node, kind)
            self._count(inputs)
            self._inputs[node.id] = inputs
            call = NodeCall(node, kind or NodeKind(node.kind, ""), inputs)
            self._made[node.id] = ROLES[kind.does](call) if kind else unknown_node(call)
            self._count(self.made(node))

    def inputs(self, node: Node) -> Mapping[str, Value]:
        """Return a node's input values by its own names."""
        return self._inputs[node.id]

    def made(self, node: Node) -> Mapping[str, Value]:
        """Return a node's output values by name."""
        made = self._made[node.id]
        return {**made.carried, **made.made} if isinstance(made, UnknownNodeOutput) else made

    def _count(self, values: Mapping[str, Value]) -> None:
        self._left -= sum(map(self._size, values.values()))
        if self._left < 0:
            raise import_error(
                f"The nodes of this workflow handle more than {_MAX_DATA} characters and it is not read;"
                " save the part that makes the picture.",
                f"这个工作流的节点处理超过 {_MAX_DATA} 个字符，不予读取；请只保存生成图片的部分。",
            )

    def _size(self, value: Value) -> int:
        if isinstance(value, Bundle):
            return _PIPE_PART * len(value.parts)
        if not isinstance(value, Plain) or not isinstance(value.data, str | list | dict):
            return 0
        if isinstance(value.data, str):
            return len(value.data)
        if id(value.data) not in self._sizes:  # lists come from the file, which outlives this
            self._sizes[id(value.data)] = len(repr(value.data))
        return self._sizes[id(value.data)]

    def _inputs_of(self, node: Node, kind: NodeKind | None) -> dict[str, Value]:
        drawn = kind.choices if kind and node.typed else ()
        inputs: dict[str, Value] = {
            name: written(value, drawn=name in drawn) for name, value in node.values.items() if value is not None
        }
        unread = [name for name, value in node.values.items() if value is UNREAD]
        if kind and node.has_unnamed_values:
            unread += [name for order in kind.widgets for name in order if name not in inputs]
        inputs |= {name: missing(node.name, UNNAMED) for name in unread}
        inputs |= {name: _cut(node, name) for name, value in node.values.items() if value is CUT}
        for name, (begin, slot) in node.links.items():
            origin = self.graph.get(begin)
            if origin is not None:
                inputs[name] = self._output(origin, slot)
        return inputs

    def _output(self, node: Node, slot: int) -> Value:
        made = self._made.get(node.id)
        if made is None:
            return missing(node.name, _ROUND)
        if isinstance(made, UnknownNodeOutput):
            output = node.outputs[slot][0] if 0 <= slot < len(node.outputs) else ""
            return UnknownNodeOutput(made.node, output, made.carried, made.made)
        kind = catalogue()[node.kind]
        if not 0 <= slot < len(kind.gives):
            return missing(node.name, _NO_OUTPUT)
        name = kind.gives[slot]
        if name in made:
            return made[name]
        through = self._inputs[node.id].get(kind.takes.get(name, name))
        return missing(node.name, _NO_OUTPUT) if through is None else through


def _cut(node: Node, name: str) -> Missing:
    label = f"{node.name}, {shown(name)}"
    return Missing(Text(f"{label}: its link leads to nothing", f"{label}：其连线没有来源"), nothing=True)
