"""How the latent gets from one sampler to the next: empty ones, resizes in latent or pixel space. Sizes in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.graph import Graph, Link, Node, source, value

_FURTHEST = 200
_LARGEST = 100_000
_ONWARD = ("samples", "latent", "latent_image", "latents", "pixels", "image", "images", "IMAGE", "LATENT", "source")
_RESIZES = ("LatentUpscale", "ImageScale")
_SCALES = ("LatentUpscaleBy", "ImageScaleBy", "ImageUpscaleWithModelBy")

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(slots=True)
class Way:
    """The way back from a sampler's latent to where it comes from."""

    begin: Node | None = None
    """The sampler before it, or the node that the latent begins with."""
    resizes: list[Node] = field(default_factory=list)
    """Nodes that change its size, in the order in which they run."""
    method: object = None
    """How the last of them resizes."""
    pixels: Node | None = None
    """A node that decodes it on the way, so that the resize is done on pixels."""
    lost: list[tuple[Node, Text]] = field(default_factory=list)


def way_back(graph: Graph, link: Link | None, stops: Callable[[Node], bool]) -> Way:
    """Follow a latent (or the picture of one) back to a node that ``stops``, or to its beginning."""
    way = Way()
    for _ in range(_FURTHEST):
        if link is None or link[0] not in graph:
            return way
        node = graph[link[0]]
        onward = source(graph, node, [*_ONWARD, *_fallbacks(node)])
        if stops(node) or onward is None:
            way.begin = node
            return way
        _note(graph, node, way)
        link = onward
    return way


def _fallbacks(node: Node) -> list[str]:
    return [name for name in node.links if name.lower().startswith(("image", "latent", "samples", "any"))]


def _note(graph: Graph, node: Node, way: Way) -> None:
    if node.kind in _RESIZES or node.kind in _SCALES:
        way.resizes.insert(0, node)
        if way.method is None:
            way.method = value(graph, node, "upscale_method")
        if value(graph, node, "crop") == "center":
            way.lost.append(
                (
                    node,
                    Text("it crops to the new shape; here the latent is stretched", "它会裁剪到新比例；这里是直接拉伸"),
                )
            )
    elif node.kind.startswith("VAEDecode"):
        way.pixels = node
    elif not node.kind.startswith("VAEEncode"):
        way.lost.append(
            (node, Text("what it does between the samplers does not exist here", "它在两次采样之间的处理这里没有"))
        )


def begin_size(graph: Graph, node: Node) -> Size | None:
    """The size of the empty latent that a graph begins with; None where it isn't said."""
    width, height = value(graph, node, "width"), value(graph, node, "height")
    return (width, height) if _pixels(width) and _pixels(height) else None


def resized(graph: Graph, size: Size | None, nodes: list[Node]) -> Size | None:
    """A size after the nodes that change it, as ComfyUI works it out (workflow.md section 2)."""
    for node in nodes:
        if node.kind in _RESIZES:
            size = _to(size, value(graph, node, "width"), value(graph, node, "height"))
        else:
            size = _by(size, value(graph, node, "scale_by"), latent=node.kind == "LatentUpscaleBy")
        if size is None:
            return None
    return size


def _to(size: Size | None, width: Any, height: Any) -> Size | None:
    """A side of 0 follows the other; both 0 leave the size as it is."""
    if _pixels(width) and _pixels(height):
        return max(64, width) // 8 * 8, max(64, height) // 8 * 8
    if size is None:
        return None
    if _pixels(width):
        return max(64, width) // 8 * 8, max(64, round(size[1] * width / size[0])) // 8 * 8
    if _pixels(height):
        return max(64, round(size[0] * height / size[1])) // 8 * 8, max(64, height) // 8 * 8
    return size


def _by(size: Size | None, scale: Any, *, latent: bool) -> Size | None:
    if size is None or isinstance(scale, bool) or not isinstance(scale, int | float) or not 0.01 <= scale <= 64:
        return None
    unit = 8 if latent else 1
    width, height = (round(side // unit * scale) * unit for side in size)
    return (width, height) if _pixels(width) and _pixels(height) else None


def _pixels(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST
