"""Chooses the output picture of a graph."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.evaluate import EvaluatedGraph
from zimage_app.service.imports.comfy.graph import Node
from zimage_app.service.imports.comfy.node_call import resolved
from zimage_app.service.imports.comfy.values import PictureValue, Size, note_of

_MAX_ENDS = 64
_NO_END = Text(
    "no saved picture can be followed back to it; as the last sampler of this workflow it is taken",
    "没有保存的图片能追溯到它；它是这个工作流的最后一个采样器，因此取用",
)


@dataclass(frozen=True, slots=True)
class Output:
    """An end node of a graph, and the picture that reaches it."""

    node: Node
    picture: PictureValue
    others: int = 0
    """Number of last samplers of other end nodes' pictures that aren't part of this picture."""


def chosen_output(worked: EvaluatedGraph, size: Size | None) -> Output | None:
    """Return the end node whose picture has ``size``, or else one that saves, or else the one with most samplers."""
    used = {begin for node in worked.graph.values() for begin, _ in node.links.values()}
    ends = [node for node in worked.graph.values() if node.id not in used or _saves(node)]
    ends = sorted(ends, key=lambda node: not _saves(node))[:_MAX_ENDS]
    outputs = [Output(node, picture) for node in ends if (picture := _picture(worked, node)) is not None]
    if not outputs:
        return _last_sampler(worked)

    def rank(each: Output) -> tuple[bool, bool, int]:
        return size is not None and each.picture.size == size, _saves(each.node), len(each.picture.passes)

    best = max(outputs, key=rank)
    mine = {done.node for done in best.picture.passes}
    others = {each.picture.passes[-1].node for each in outputs} - mine
    return Output(best.node, best.picture, len(others))


def _last_sampler(worked: EvaluatedGraph) -> Output | None:
    """Return the node that makes the picture with most samplers, where none reaches an end node."""
    made = [
        Output(node, value.noted(note_of(node.name, _NO_END)))
        for node in worked.graph.values()
        for value in worked.made(node).values()
        if isinstance(value, PictureValue) and value.passes
    ]
    return max(made, key=lambda each: len(each.picture.passes), default=None)


def _picture(worked: EvaluatedGraph, node: Node) -> PictureValue | None:
    """Return the sampled picture that a node receives, or makes itself if it is a sampler."""
    given = [found for name, value in worked.inputs(node).items() if (found := resolved(value, PictureValue, name))]
    made = [value for value in worked.made(node).values() if isinstance(value, PictureValue)]
    sampled = [each for each in (*made, *given) if each.passes]
    return max(sampled, key=lambda each: len(each.passes), default=None)


def _saves(node: Node) -> bool:
    return "save" in node.kind.lower()
