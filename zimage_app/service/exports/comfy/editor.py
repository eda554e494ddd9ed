"""Converts a graph to the form that ComfyUI's editor saves, with node positions, sizes and numbered links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.workflow import Nodes
from zimage_app.service.imports.comfy.catalogue import catalogue

_TYPES = {
    "model": "MODEL", "clip": "CLIP", "vae": "VAE", "positive": "CONDITIONING", "negative": "CONDITIONING",
    "latent_image": "LATENT", "samples": "LATENT", "pixels": "IMAGE", "image": "IMAGE", "images": "IMAGE",
    "sampler": "SAMPLER", "sigmas": "SIGMAS", "text": "STRING",
}  # fmt: skip
"""Name of an input -> its type."""
_OUTPUTS = {"conditioning": "CONDITIONING", "latent": "LATENT", "denoised": "LATENT", "mask": "MASK", "value": "STRING"}
"""Name of an output in the catalogue -> its type, if no input has that name."""
_SEEDS = ("seed", "noise_seed")
_EXACT = 2**53
"""Maximum integer that is exact in a browser."""
_WIDTH, _GAP = 320, 80
_LINE, _TITLE, _TEXT_BOX = 24, 50, 120
"""Heights in pixels of a line, of title and margins, and of a field for long texts."""


def with_layout(nodes: Nodes) -> dict[str, Any]:
    """Return the editor's form of a graph."""
    links = list(_links(nodes))
    places = _places(nodes)
    laid = [_node(key, order, nodes[key], places[key], links) for order, key in enumerate(nodes)]
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": laid,
        "links": [[number, int(begin), slot, int(end), place, kind] for number, begin, slot, end, place, kind in links],
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def unsafe_seeds(plan: GenerationPlan) -> list[Text]:
    """Return a note if a seed is too large to be exact in a browser."""
    if not any(stage.seed > _EXACT for stage in plan.stages):
        return []
    return [
        Text(
            "A seed above 9007199254740992 is rounded by ComfyUI's page; export the api form, or choose a smaller one.",
            "大于 9007199254740992 的种子在 ComfyUI 页面中会丢失精度；请导出 API 格式，或换一个较小的种子。",
        )
    ]


_Link = tuple[int, str, int, str, int, str]
"""(number, source node, output index, target node, input index, type)."""


def _inputs(node: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    return [(name, value) for name, value in node["inputs"].items() if isinstance(value, list)]


def _links(nodes: Nodes) -> Iterator[_Link]:
    number = 0
    for key, node in nodes.items():
        for place, (name, (begin, slot)) in enumerate(_inputs(node)):
            number += 1
            yield number, begin, slot, key, place, _TYPES[name]


def _node(key: str, order: int, node: Mapping[str, Any], place: tuple[int, int], links: list[_Link]) -> dict[str, Any]:
    kind, ends = node["class_type"], {link[4]: link[0] for link in links if link[3] == key}
    row = catalogue()[kind]
    fields = next((order for order in row.widgets if set(order) <= node["inputs"].keys()), ())
    inputs = []
    for number, (name, _) in enumerate(_inputs(node)):
        field = {"widget": {"name": name}} if name in fields else {}
        inputs.append({"name": name, "type": _TYPES[name], "link": ends[number], **field})
    outputs = []
    for number, name in enumerate(row.gives):
        begun = [link[0] for link in links if link[1] == key and link[2] == number]
        kind_given = _OUTPUTS.get(name) or _TYPES[name]
        outputs.append({"name": kind_given, "type": kind_given, "links": begun or None, "slot_index": number})
    return {
        "id": int(key),
        "type": kind,
        "pos": list(place),
        "size": [_WIDTH, _height(node)],
        "flags": {},
        "order": order,
        "mode": 0,
        "title": node["_meta"]["title"],
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": kind},
        "widgets_values": list(_values(fields, node["inputs"])),
    }


def _values(fields: tuple[str, ...], inputs: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the values of a node's own fields in order; after a seed, also what to do with it after a run."""
    for name in fields:
        yield "" if isinstance(inputs[name], list) else inputs[name]
        if name in _SEEDS:
            yield "fixed"


def _height(node: Mapping[str, Any]) -> int:
    long = any(isinstance(value, str) and name in ("text", "value") for name, value in node["inputs"].items())
    return _TITLE + _LINE * (len(node["inputs"]) + 1) + (_TEXT_BOX if long else 0)


def _places(nodes: Nodes) -> dict[str, tuple[int, int]]:
    """Place each node one column to the right of its inputs' nodes, below the nodes already in that column."""
    columns: dict[str, int] = {}
    depths: dict[int, int] = defaultdict(int)
    places: dict[str, tuple[int, int]] = {}
    for key, node in nodes.items():
        column = max((columns[begin] + 1 for _, (begin, _) in _inputs(node)), default=0)
        columns[key] = column
        places[key] = (column * (_WIDTH + _GAP), depths[column])
        depths[column] += _height(node) + _GAP
    return places
