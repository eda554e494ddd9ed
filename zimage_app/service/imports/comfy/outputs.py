"""Which of a graph's pictures is meant, and the samplers on the way to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from zimage_app.service.imports.comfy.graph import Graph, Node, source
from zimage_app.service.imports.comfy.latents import Size, Way, begin_size, resized, way_back
from zimage_app.service.imports.comfy.samplers import is_sampler

_MOST_ENDS = 64
_MOST_SAMPLERS = 32
_INTO = ("images", "image", "samples", "latent", "pixels", "IMAGE")


@dataclass(slots=True)
class Output:
    """A node at the end of a graph, and what leads to it."""

    node: Node
    samplers: list[Node] = field(default_factory=list)
    """From the first to the last."""
    ways: list[Way] = field(default_factory=list)
    """Of each sampler, from what comes before it."""
    after: list[Node] = field(default_factory=list)
    """What changes the picture behind the last sampler."""
    others: int = 0
    """Other ends whose pictures come from samplers that are not among these."""

    @property
    def saves(self) -> bool:
        """Whether it keeps the picture, rather than showing it."""
        return "save" in self.node.kind.lower()


def chosen_output(graph: Graph, picture: Size | None) -> Output | None:
    """The end whose picture has the size of ``picture``; else one that saves; else that of the most samplers."""
    used = {link[0] for node in graph.values() for link in node.links.values()}
    ends = [node for node in graph.values() if node.id not in used]
    shown_first = sorted(ends, key=lambda node: "save" not in node.kind.lower())[:_MOST_ENDS]
    outputs = [found for found in (_output(graph, node) for node in shown_first) if found.samplers]
    if not outputs:
        return None
    best = max(outputs, key=lambda each: (_fits(graph, each, picture), each.saves, len(each.samplers)))
    mine = {node.id for node in best.samplers}
    lasts = {each.samplers[-1].id for each in outputs}
    best.others = len(lasts - mine)
    return best


def _output(graph: Graph, node: Node) -> Output:
    output = Output(node)
    if is_sampler(node):  # a workflow that ends in a latent
        current: Node | None = node
    else:
        way = way_back(graph, source(graph, node, _INTO), is_sampler)
        current = way.begin if way.begin is not None and is_sampler(way.begin) else None
        output.after = [*way.resizes, *(each for each, _ in way.lost)]
    while current is not None and len(output.samplers) < _MOST_SAMPLERS and current not in output.samplers:
        way = way_back(graph, source(graph, current, ("latent_image", "latent", "samples")), is_sampler)
        output.samplers.insert(0, current)
        output.ways.insert(0, way)
        current = way.begin if way.begin is not None and is_sampler(way.begin) else None
    return output


def _fits(graph: Graph, output: Output, picture: Size | None) -> bool:
    begin = output.ways[0].begin
    size = begin_size(graph, begin) if begin else None
    for way in output.ways:
        size = resized(graph, size, way.resizes)
    return picture is not None and size == picture
