"""ComfyUI's editor form -> the graph that it runs: names for the bare list of values, bypasses, subgraphs, Get and Set.

The editor keeps a node's values in the order of its widgets. Newer ones name the widgets among the node's inputs; of
older ones the order must be known (``_WIDGETS``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zimage_app.service.imports.comfy.graph import REROUTES, Graph, Link, Node, bounded

_MUTED, _BYPASSED = 2, 4
_NO_NODES = frozenset({"Note", "MarkdownNote", "Label (rgthree)", "Fast Groups Bypasser (rgthree)"})
_MAX_DEPTH = 8
"""Of subgraphs in subgraphs."""
_SUBGRAPH_IN, _SUBGRAPH_OUT = -10, -20
_CONTROL = frozenset({"fixed", "increment", "decrement", "randomize"})
"""What the editor does with a seed after a run; it stands behind the seed in the list, without a name."""

_FLOW_MATCH = (
    "base_image_seq_len base_shift invert_sigmas max_image_seq_len max_shift num_train_timesteps shift shift_terminal"
    " stochastic_sampling time_shift_type use_beta_sigmas use_dynamic_shifting use_exponential_sigmas use_karras_sigmas"
)
_ORDERS = {
    "KSampler": "seed steps cfg sampler_name scheduler denoise",
    "KSamplerAdvanced": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step"
    " return_with_leftover_noise",
    "SamplerCustom": "add_noise noise_seed cfg",
    "RandomNoise": "noise_seed",
    "KSamplerSelect": "sampler_name",
    "BasicScheduler": "scheduler steps denoise",
    "KarrasScheduler": "steps sigma_max sigma_min rho",
    "ExponentialScheduler": "steps sigma_max sigma_min",
    "BetaSamplingScheduler": "steps alpha beta",
    "CFGGuider": "cfg",
    "SamplerEulerAncestral": "eta s_noise",
    "SamplerDPMPP_SDE": "eta s_noise r noise_device",
    "SamplerDPMPP_2M_SDE": "solver_type eta s_noise noise_device",
    "SamplerDPMPP_3M_SDE": "eta s_noise noise_device",
    "SamplerDPMPP_2S_Ancestral": "eta s_noise",
    "EmptyLatentImage": "width height batch_size",
    "EmptySD3LatentImage": "width height batch_size",
    "LatentUpscale": "upscale_method width height crop",
    "LatentUpscaleBy": "upscale_method scale_by",
    "ImageScale": "upscale_method width height crop",
    "ImageScaleBy": "upscale_method scale_by",
    "ModelSamplingAuraFlow": "shift",
    "ModelSamplingSD3": "shift",
    "EasyCache": "reuse_threshold start_percent end_percent verbose",
    "CLIPTextEncode": "text",
    "StringConcatenate": "string_a string_b delimiter",
    "LoraLoader": "lora_name strength_model strength_clip",
    "LoraLoaderModelOnly": "lora_name strength_model",
    "UNETLoader": "unet_name weight_dtype",
    "UnetLoaderGGUF": "unet_name",
    "CheckpointLoaderSimple": "ckpt_name",
    "CLIPLoader": "clip_name type device",
    "CLIPLoaderGGUF": "clip_name type",
    "DualCLIPLoader": "clip_name1 clip_name2 type device",
    "VAELoader": "vae_name",
    "SaveImage": "filename_prefix",
    "FluxGuidance": "guidance",
    "FlowMatchEulerDiscreteScheduler (Custom)": f"steps {_FLOW_MATCH}",
}
_WIDGETS = {kind: tuple(order.split()) for kind, order in _ORDERS.items()}
_NEWER = {
    "FlowMatchEulerDiscreteScheduler (Custom)": tuple(f"steps start_at_step end_at_step {_FLOW_MATCH} device".split()),
}
"""Orders of later versions of a node, which are longer."""


@dataclass
class _Level:
    """One editor sheet: the main one, or the inside of a subgraph."""

    prefix: str
    nodes: dict[int | str, Mapping[str, Any]] = field(default_factory=dict)
    links: dict[int, tuple[int | str, int, str]] = field(default_factory=dict)
    """By a link's id: the node that it comes from, its output's number, the type of what it carries."""
    ends: dict[int, int] = field(default_factory=dict)
    """Of a subgraph: an output's number -> the link that feeds it."""
    parent: _Level | None = None
    depth: int = 0
    outer: Mapping[str, Any] = field(default_factory=dict)
    """Of a subgraph: the node of the parent sheet that stands for it."""
    inner: dict[int | str, _Level] = field(default_factory=dict)
    """Sheets of the subgraphs in this one, by the id of the node that stands for each."""


def editor_graph(data: Mapping[str, Any]) -> Graph:
    """The form that the editor saves: ``{"nodes": […], "links": […]}``.

    Raises:
        ImportedFileError: there are too many nodes.
    """
    definitions = data.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    subgraphs = {str(each.get("id")): each for each in _maps(listed)}
    sheets = [_level(data, "", None, {})]
    nodes = 0
    for sheet in sheets:  # grows while it is gone through
        nodes += len(sheet.nodes)
        bounded(nodes)
        sheets += _unfolded(sheet, subgraphs)
    graph = {node.id: node for sheet in sheets for node in _nodes(sheet)}
    for sheet in sheets:  # only now can links be followed through every sheet
        _connect(graph, sheet)
    return graph


def _unfolded(level: _Level, subgraphs: Mapping[str, Mapping[str, Any]]) -> Iterator[_Level]:
    """The sheets inside a sheet, one for each node that stands for a subgraph."""
    for key, given in level.nodes.items():
        if given["type"] in subgraphs and level.depth < _MAX_DEPTH and given.get("mode") not in (_MUTED, _BYPASSED):
            level.inner[key] = _level(subgraphs[given["type"]], f"{level.prefix}{key}:", level, given)
            yield level.inner[key]


def _nodes(level: _Level) -> Iterator[Node]:
    for key, given in level.nodes.items():
        if key not in level.inner and given.get("mode") not in (_MUTED, _BYPASSED) and given["type"] not in _NO_NODES:
            yield _node(level, key, given)


def _connect(graph: Graph, level: _Level) -> None:
    for key, given in level.nodes.items():
        node = graph.get(f"{level.prefix}{key}")
        for entry in _maps(given.get("inputs")) if node else ():
            end = _end(level, entry.get("link"), 0)
            name = str(entry.get("name", ""))
            if node is None or end is None:
                continue
            if isinstance(end, tuple):
                node.links[name] = end
            else:
                node.values[name] = end.value


@dataclass(frozen=True, slots=True)
class _Value:
    """A value that a subgraph's own field gives to a node inside."""

    value: Any


def _end(level: _Level, link: object, depth: int) -> Link | _Value | None:
    """Where a link really begins: past bypassed nodes, Get and Set, and the walls of subgraphs."""
    begin = level.links.get(link) if isinstance(link, int) else None
    if begin is None or depth > 200:
        return None
    key, slot, kind = begin
    if key == _SUBGRAPH_IN:
        return _from_outside(level, slot, depth)
    if key in level.inner:
        inner = level.inner[key]
        return _end(inner, inner.ends.get(slot), depth + 1)
    given = level.nodes.get(key)
    if given is None or given.get("mode") == _MUTED:
        return None
    if given["type"] == "GetNode":
        return _end(level, _set_link(level, given), depth + 1)
    if given.get("mode") == _BYPASSED or given["type"] == "SetNode":
        return _end(level, _passed(given, slot, kind), depth + 1)
    return f"{level.prefix}{key}", slot


def _from_outside(level: _Level, slot: int, depth: int) -> Link | _Value | None:
    entries = _maps(level.outer.get("inputs"))
    if level.parent is None or not 0 <= slot < len(entries):
        return None
    end = _end(level.parent, entries[slot].get("link"), depth + 1)
    if end is not None:
        return end
    values = _named_values(level.outer)
    name = str(entries[slot].get("name", ""))
    return _Value(values[name]) if name in values else None


def _passed(given: Mapping[str, Any], slot: int, kind: str) -> object:
    """The input that a bypassed node hands on: the one in the output's place if it is of that type, else the first."""
    entries = _maps(given.get("inputs"))
    fitting = [entry for entry in entries if entry.get("type") == kind]
    if 0 <= slot < len(entries) and entries[slot] in fitting:
        return entries[slot].get("link")
    return fitting[0].get("link") if fitting else None


def _set_link(level: _Level, given: Mapping[str, Any]) -> object:
    """The link into the SetNode of the same name as a GetNode."""
    wanted = _values(given)[:1]
    for other in level.nodes.values():
        if other["type"] == "SetNode" and wanted and _values(other)[:1] == wanted:
            entries = _maps(other.get("inputs"))
            return entries[0].get("link") if entries else None
    return None


def _node(level: _Level, key: int | str, given: Mapping[str, Any]) -> Node:
    title = given.get("title")
    kind = str(given["type"])
    node = Node(f"{level.prefix}{key}", kind, title if isinstance(title, str) else "")
    if kind not in REROUTES:
        node.values = _named_values(given)
    return node


def _named_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """A node's values by their names; those that nobody names are ``value_0`` and so on."""
    values = given.get("widgets_values")
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    bare = _without_control(_values(given))
    named = [str(entry.get("name")) for entry in _maps(given.get("inputs")) if isinstance(entry.get("widget"), Mapping)]
    kind = str(given["type"])
    if len(named) != len(bare):
        versions = [order for order in (_WIDGETS.get(kind), _NEWER.get(kind)) if order]
        versions.sort(key=lambda order: abs(len(order) - len(bare)))
        named = list(versions[0]) if versions else []
    if not named and len(bare) == 1:
        named = ["value"]
    names = [*named, *(f"value_{place}" for place in range(len(named), len(bare)))]
    return dict(zip(names, bare, strict=False))


def _without_control(values: list[Any]) -> list[Any]:
    """The values without what stands behind a seed."""
    kept: list[Any] = []
    for value in values:
        after_number = bool(kept) and isinstance(kept[-1], int | float) and not isinstance(kept[-1], bool)
        if not (after_number and isinstance(value, str) and value in _CONTROL):
            kept.append(value)
    return kept


def _level(data: Mapping[str, Any], prefix: str, parent: _Level | None, outer: Mapping[str, Any]) -> _Level:
    level = _Level(prefix, parent=parent, depth=parent.depth + 1 if parent else 0, outer=outer)
    for given in _maps(data.get("nodes")):
        if isinstance(given.get("id"), int | str) and isinstance(given.get("type"), str):
            level.nodes[given["id"]] = given
    links = data.get("links")
    for link in links if isinstance(links, list) else ():
        _add_link(level, link)
    return level


def _add_link(level: _Level, link: object) -> None:
    """A link is a list in the main sheet and a mapping in a subgraph."""
    if isinstance(link, list) and len(link) >= 6:
        number, begin, slot, _, end_slot, kind = link[:6]
        end: object = link[3]
    elif isinstance(link, Mapping):
        number, begin, slot = link.get("id"), link.get("origin_id"), link.get("origin_slot")
        end, end_slot, kind = link.get("target_id"), link.get("target_slot"), link.get("type")
    else:
        return
    if isinstance(number, int) and isinstance(begin, int | str) and isinstance(slot, int):
        level.links[number] = (begin, slot, str(kind))
        if end == _SUBGRAPH_OUT and isinstance(end_slot, int):
            level.ends[end_slot] = number


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _values(given: Mapping[str, Any]) -> list[Any]:
    values = given.get("widgets_values")
    return values if isinstance(values, list) else []
