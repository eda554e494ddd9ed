"""Converts ComfyUI's editor form to a graph: names widget values, resolves bypasses, subgraphs, Get and Set nodes.

The editor saves a node's values as a list in the order of its widgets. Newer versions name the widgets among the node's
inputs; for older ones the order comes from the catalogue. Values without a known name become ``value_0`` and so on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from zimage_app.service.imports.comfy.catalogue import catalogue
from zimage_app.service.imports.comfy.graph import CUT, UNREAD, Graph, Link, Node, bounded
from zimage_app.service.imports.draft import import_error

_MUTED, _BYPASSED = 2, 4
_NO_NODES = frozenset({"Note", "MarkdownNote", "Label (rgthree)", "Fast Groups Bypasser (rgthree)"})
_MAX_DEPTH = 8
"""Maximum nesting of subgraphs."""
_MAX_UNFOLDED = 8 * 2**20
"""Maximum characters of all subgraphs together, each counted as often as it is used."""
_MAX_ID = 200
"""Maximum characters of a node's id, of which a subgraph's nodes each get a copy."""
_MAX_STEPS = 150
"""Maximum number of nodes that a link is followed through."""
_SUBGRAPH_IN, _SUBGRAPH_OUT = -10, -20
_CONTROL = frozenset({"fixed", "increment", "decrement", "randomize"})
"""Values of the unnamed widget after a seed: what the editor does with the seed after a run."""
_KINDS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"(noise_)?seed|steps|(empty_latent_)?(width|height)|batch_size|(start|end)_at_step"), int | float),
    (
        re.compile(
            r"cfg|denoise|shift|(lora_)?strength(_model|_clip)?(_?\d+)?|lora_\w{0,6}strength|megapixels|lora_count"
            r"|num_loras|(lora_wt|(model|clip)_(str|weight))_\d+"
        ),
        int | float,
    ),
    (
        re.compile(
            r"(sampler|ckpt|unet|lora|vae|clip|model|config)_name(_\d+)?|lora_\d+_name|scheduler|text|prompt|positive"
            r"|negative"
        ),
        str,
    ),
)
Names = tuple[str, ...]
_WIDGET_TYPES = frozenset({"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "NUMBER"})
_GETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
"""Class of a Get node, which reads a value by its name -> class of the Set node that stores it."""


@dataclass(frozen=True, slots=True)
class _Ports:
    """A node's inputs and outputs, arranged once, as many links may lead there."""

    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[object, ...] = ()
    """The outputs' types."""
    first: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Type -> the first input of it."""
    named: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> the first input of it."""
    kinds: tuple[frozenset[str], ...] = ()
    """The inputs' types, one by one."""
    fitting: Mapping[str, int] = field(default_factory=dict)
    """One type -> number of the first input that takes it."""
    only: Mapping[str, int] = field(default_factory=dict)
    """Type -> number of the only output of it."""


def _ports(given: Mapping[str, Any]) -> _Ports:
    inputs = tuple(_maps(given.get("inputs")))
    outputs = tuple(each.get("type") for each in _maps(given.get("outputs")))
    first, named = (
        {name: each for each in reversed(inputs) if isinstance(name := each.get(key), str)} for key in ("type", "name")
    )
    texts = [each for each in outputs if isinstance(each, str)]
    count = Counter(texts)
    only = {each: number for number, each in enumerate(outputs) if isinstance(each, str) and count[each] == 1}
    kinds = tuple(_kinds(each.get("type")) for each in inputs)
    fitting = {each: number for number, several in reversed([*enumerate(kinds)]) for each in several}
    return _Ports(inputs, outputs, first, named, kinds, fitting, only)


@dataclass
class _Sheet:
    """One editor sheet: the main one, or the inside of a subgraph."""

    prefix: str
    nodes: dict[int | str, Mapping[str, Any]] = field(default_factory=dict)
    ports: dict[int | str, _Ports] = field(default_factory=dict)
    """Inputs and outputs of the nodes."""
    stored: dict[tuple[str, str], _Ports] = field(default_factory=dict)
    """(class, name) of each Set node -> its inputs."""
    sources: dict[tuple[int | str, int, str], Link | _Value | None] = field(default_factory=dict)
    """(node, number of its output, type of the link) -> its real source, as far as asked for."""
    links: dict[int, tuple[int | str, int, str]] = field(default_factory=dict)
    """Link id -> (source node, number of its output, type of the value)."""
    ends: dict[int, int] = field(default_factory=dict)
    """For a subgraph: output number -> id of the link into it."""
    parent: _Sheet | None = None
    depth: int = 0
    outer: Mapping[str, Any] = field(default_factory=dict)
    """For a subgraph: the parent sheet's node that represents it."""
    outer_ports: _Ports = field(default_factory=_Ports)
    inner: dict[int | str, _Sheet] = field(default_factory=dict)
    """Id of a node that represents a subgraph -> the subgraph's sheet."""
    fields: tuple[Mapping[str, Any], ...] = ()
    """For a subgraph: its inputs in the order of its definition."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """For a subgraph: values of its own fields by name."""
    set_inside: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For a subgraph: id of an inner node -> values by widget name that are set on the outer node."""
    broadcast: dict[tuple[str, int], tuple[int | str, int]] = field(default_factory=dict)
    """(node id, input number) fed without a link (cg-use-everywhere) -> (source node, number of its output)."""


def editor_graph(data: Mapping[str, Any]) -> Graph:
    """Convert the editor's form, ``{"nodes": […], "links": […]}``.

    Raises:
        ImportedFileError: there are too many nodes, or subgraphs are used too often.
    """
    definitions = data.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    subgraphs = {str(each.get("id")): each for each in _maps(listed)}
    sheets = [_level(data, "", None, {})]
    sizes = {name: len(json.dumps(each)) for name, each in subgraphs.items()}
    nodes = size = 0
    for sheet in sheets:  # the list grows during iteration
        nodes += len(sheet.nodes)
        bounded(nodes)
        for inner in _unfolded(sheet, subgraphs):
            size += sizes[inner.outer["type"]]
            _bounded_size(size)
            sheets.append(inner)
    graph = {node.id: node for sheet in sheets for node in _nodes(sheet)}
    for sheet in sheets:  # links can cross sheets, so all sheets must exist first
        _connect(graph, sheet)
    return graph


def _bounded_size(size: int) -> None:
    if size > _MAX_UNFOLDED:
        millions = _MAX_UNFOLDED >> 20
        raise import_error(
            f"The subgraphs of this workflow hold more than {millions} million characters, each counted as often as"
            " it is used, and are not read; save the part that makes the picture.",
            f"这个工作流的子图按使用次数累计超过 {millions}00 万字符，不予读取；请只保存生成图片的部分。",
        )


def _unfolded(level: _Sheet, subgraphs: Mapping[str, Mapping[str, Any]]) -> Iterator[_Sheet]:
    """Yield the sheets of a sheet's subgraph nodes."""
    for key, given in level.nodes.items():
        if given["type"] in subgraphs and level.depth < _MAX_DEPTH and given.get("mode") not in (_MUTED, _BYPASSED):
            level.inner[key] = _level(subgraphs[given["type"]], f"{level.prefix}{key}:", level, given)
            yield level.inner[key]


def _nodes(level: _Sheet) -> Iterator[Node]:
    for key, given in level.nodes.items():
        if key not in level.inner and given.get("mode") not in (_MUTED, _BYPASSED) and given["type"] not in _NO_NODES:
            yield _node(level, key, given)


def _connect(graph: Graph, level: _Sheet) -> None:
    for key, ports in level.ports.items():
        node = graph.get(f"{level.prefix}{key}")
        for number, entry in enumerate(ports.inputs) if node else ():
            end = _end(level, entry.get("link"), 0)
            if end is None and (begin := level.broadcast.get((str(key), number))) is not None:
                end = _output(level, *begin, str(entry.get("type")), 0)
            name = entry.get("name", "")
            if node is None or not isinstance(name, str):
                continue
            if isinstance(end, tuple):
                node.links[name] = end
            elif end is not None:
                node.values[name] = end.value
            elif entry.get("link") is not None:
                node.values.setdefault(name, CUT)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a subgraph's own field, passed to an inner node."""

    value: Any


def _end(level: _Sheet, link: object, depth: int) -> Link | _Value | None:
    """Follow a link to its real source, through bypassed nodes, Get and Set nodes and subgraph boundaries."""
    begin = level.links.get(link) if isinstance(link, int) else None
    if begin is None or depth > _MAX_STEPS:
        return None
    return _output(level, *begin, depth)


def _output(level: _Sheet, key: int | str, slot: int, kind: str, depth: int) -> Link | _Value | None:
    """Follow a node's output to its real source, once for all links from there; None if there is none."""
    if (key, slot, kind) not in level.sources:
        level.sources[key, slot, kind] = _source(level, key, slot, kind, depth)
    return level.sources[key, slot, kind]


def _source(level: _Sheet, key: int | str, slot: int, kind: str, depth: int) -> Link | _Value | None:
    if key == _SUBGRAPH_IN:
        return _from_outside(level, slot, depth)
    if key in level.inner:
        inner = level.inner[key]
        return _end(inner, inner.ends.get(slot), depth + 1)
    given = level.nodes.get(key)
    if given is None or given.get("mode") == _MUTED:
        return None
    if given["type"] in _GETTERS:
        return _taken_up(level, given, depth)
    if given.get("mode") == _BYPASSED or given["type"] in _GETTERS.values():
        return _end(level, _passed(level.ports[key], slot, kind), depth + 1)
    return f"{level.prefix}{key}", _slot(level.ports[key], slot, kind)


def _slot(ports: _Ports, slot: int, kind: str) -> int:
    """Return the output number of a link, corrected if only another output has the link's type."""
    if 0 <= slot < len(ports.outputs) and ports.outputs[slot] not in (kind, "*"):
        return ports.only.get(kind, slot)
    return slot


def _from_outside(level: _Sheet, slot: int, depth: int) -> Link | _Value | None:
    """Return the source of a subgraph's input, matched by name: the outer node may list inputs in another order."""
    if level.parent is None:
        return None
    entries = level.outer_ports.inputs
    if 0 <= slot < len(level.fields):
        name = str(level.fields[slot].get("name", ""))
        entry = level.outer_ports.named.get(name)
    else:
        entry = entries[slot] if 0 <= slot < len(entries) else None
        name = str(entry.get("name", "")) if entry else ""
    end = _end(level.parent, entry.get("link"), depth + 1) if entry else None
    if end is not None:
        return end
    return _Value(level.given[name]) if name in level.given else None


def _passed(ports: _Ports, slot: int, kind: str) -> object:
    """Return the input link that a bypassed node passes on.

    That is the input at the output's position if its type fits, or else the first input of that very type, or else the
    first one that fits.
    """
    wanted = _kinds(kind)
    if 0 <= slot < len(ports.inputs) and ("*" in ports.kinds[slot] | wanted or ports.kinds[slot] & wanted):
        return ports.inputs[slot].get("link")
    if kind in ports.first:
        return ports.first[kind].get("link")
    fitting = [ports.fitting[each] for each in (*wanted, "*") if each in ports.fitting]
    fitting += [0] if "*" in wanted and ports.inputs else []
    return ports.inputs[min(fitting)].get("link") if fitting else None


def _kinds(given: object) -> frozenset[str]:
    """Return the types that a link's or input's type stands for: ``INT,FLOAT`` is either one, ``*`` any."""
    return frozenset(each.strip() for each in str(given).lower().split(","))


def _taken_up(level: _Sheet, given: Mapping[str, Any], depth: int) -> Link | _Value | None:
    """Return the source stored by the Set node of the same name, in this sheet or an enclosing one."""
    name, setter = _name(given), _GETTERS[given["type"]]
    sheet: _Sheet | None = level
    while sheet is not None and name is not None:
        if (ports := sheet.stored.get((setter, name))) is not None:
            return _end(sheet, ports.inputs[0].get("link"), depth + 1) if ports.inputs else None
        sheet = sheet.parent
    return None


def _name(given: Mapping[str, Any]) -> str | None:
    """Return the name under which a Get or Set node keeps a value."""
    name = next(iter(_values(given)), None)
    return name if isinstance(name, str) else None


def _node(level: _Sheet, key: int | str, given: Mapping[str, Any]) -> Node:
    title = given.get("title")
    node = Node(f"{level.prefix}{key}", str(given["type"]), title if isinstance(title, str) else "", typed=True)
    node.outputs = tuple((str(each.get("name", "")), str(each.get("type", ""))) for each in _maps(given.get("outputs")))
    node.values = _named_values(given)
    node.values |= level.set_inside.get(str(key), {})
    return node


def _named_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's values by name; values without a known name are ``value_0`` and so on."""
    for key in ("widgets_values_named", "widgets_values"):
        named = given.get(key)
        if isinstance(named, Mapping):
            return {str(name): value for name, value in named.items()}
    listed = [str(each.get("name")) for each in _maps(given.get("inputs")) if isinstance(each.get("widget"), Mapping)]
    row = catalogue().get(str(given["type"]))
    return _zipped(_values(given), tuple(listed), row.widgets if row else ())


def _zipped(values: list[Any], listed: Names, known: tuple[Names, ...]) -> dict[str, Any]:
    """Name values by the first order of widgets that fits; without one, only the first seed can be recognised.

    Newer versions append fields, so a known order also names the beginning of a longer list.
    """
    forms = [_without_control(values, nothing_too=nothing_too) for nothing_too in (False, True)] + [values]
    for form in forms:
        for order in (listed, *known):
            if order and len(order) == len(form) and _plausible(named := dict(zip(order, form, strict=True))):
                return named
    nearest = sorted(known, key=lambda order: abs(len(order) - len(forms[0])))
    for form in forms:
        for order in nearest:
            named = dict(zip(order, form, strict=False))
            if named and _plausible(named):
                return named | {f"value_{place}": form[place] for place in range(len(order), len(form))}
    seeds = [value for value, after in pairwise(values) if _is_seed(value) and _controls(after)]
    unnamed = {f"value_{place}": value for place, value in enumerate(values)}
    return {"seed": seeds[0], **unnamed} if seeds else unnamed


def _plausible(named: Mapping[str, Any]) -> bool:
    """Whether values have the types that fields of these names have in all node packs."""
    for name, value in named.items():
        wanted = next((kind for pattern, kind in _KINDS if pattern.fullmatch(name)), None)
        if wanted and value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            return False
    return True


def _without_control(values: list[Any], *, nothing_too: bool) -> list[Any]:
    """Remove the control value after each seed; with ``nothing_too`` also null and booleans, as some files have."""
    pairs = zip([None, *values], values, strict=False)
    return [
        value
        for last, value in pairs
        if not (_is_seed(last) and (_controls(value) or (nothing_too and (value is None or isinstance(value, bool)))))
    ]


def _controls(value: Any) -> bool:
    return isinstance(value, str) and value in _CONTROL


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _subgraph_values(level: _Sheet) -> None:
    """Read the values on a subgraph's outer node, and those that the sheet around it sets on that node."""
    properties = level.outer.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
    proxies = [(str(each[0]), str(each[1])) for each in listed or () if isinstance(each, list) and len(each) >= 2]
    _own_values(level, proxies)
    inside = level.parent.set_inside.get(str(level.outer["id"]), {}) if level.parent else {}
    names = Counter(name for _, name in proxies)
    for key, name in proxies:
        if name in inside and key != "-1":
            level.set_inside.setdefault(key, {})[name] = inside[name] if names[name] < 2 else UNREAD
    through = {name for key, name in proxies if key != "-1"}
    level.given = {**level.given, **{name: value for name, value in inside.items() if name not in through}}


def _own_values(level: _Sheet, proxies: list[tuple[str, str]]) -> None:
    """Read the values on a subgraph's outer node, in the definition's order or as listed by the node's proxies.

    The last proxies may be pictures and have no value.
    """
    values = _values(level.outer)
    if 0 < len(values) <= len(proxies):
        for (inside, name), value in zip(proxies, values, strict=False):
            if value is not None:
                level.set_inside.setdefault(inside, {})[name] = value
        level.given = level.set_inside.pop("-1", {})
        return
    own = _named_values(level.outer)
    defined = [str(each.get("name", "")) for each in level.fields if _is_field(each)]
    for given in (values, _without_control(values, nothing_too=False)):
        if defined and len(given) == len(defined):
            level.given = dict(zip(defined, given, strict=True))
            return
    level.given = {name: value for name, value in own.items() if not name.startswith("value_")}
    if len(level.given) < len(own):  # the other values can't be assigned to fields, so all other fields are unknown
        level.given = {**dict.fromkeys(defined, UNREAD), **level.given}


def _is_field(entry: Mapping[str, Any]) -> bool:
    """Whether a subgraph's input has a widget, and so a value."""
    kind = entry.get("type")
    return isinstance(entry.get("widget"), Mapping) or kind in _WIDGET_TYPES or (isinstance(kind, str) and "," in kind)


def _level(data: Mapping[str, Any], prefix: str, parent: _Sheet | None, outer: Mapping[str, Any]) -> _Sheet:
    level = _Sheet(prefix, parent=parent, depth=parent.depth + 1 if parent else 0, outer=outer)
    for given in _maps(data.get("nodes")):
        key = given.get("id")
        if isinstance(key, int | str) and len(str(key)) <= _MAX_ID and isinstance(given.get("type"), str):
            level.nodes[key] = given
    level.ports = {key: _ports(given) for key, given in level.nodes.items()}
    for key, given in level.nodes.items():
        name = _name(given) if given["type"] in _GETTERS.values() and given.get("mode") != _MUTED else None
        if name is not None:
            level.stored.setdefault((given["type"], name), level.ports[key])
    links = data.get("links")
    for link in links if isinstance(links, list) else ():
        _add_link(level, link)
    if parent is not None:
        level.fields = tuple(_maps(data.get("inputs")))
        level.outer_ports = _ports(outer)
        _subgraph_values(level)
    extra = data.get("extra")
    keys = {str(key): key for key in reversed(level.nodes)}
    for link in _maps(extra.get("ue_links")) if isinstance(extra, Mapping) else ():
        _add_broadcast(level, link, keys)
    return level


def _add_broadcast(level: _Sheet, link: Mapping[str, Any], keys: Mapping[str, int | str]) -> None:
    end, number = link.get("downstream"), link.get("downstream_slot")
    begin, slot = link.get("upstream"), link.get("upstream_slot")
    key = keys.get(str(begin))
    if isinstance(number, int) and isinstance(slot, int) and key is not None:
        level.broadcast[str(end), number] = (key, slot)


def _add_link(level: _Sheet, link: object) -> None:
    """Add a link, which is a list in the main sheet and a mapping in a subgraph."""
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
