"""Converts ComfyUI's editor form to a graph: names widget values, resolves bypasses, subgraphs, Get and Set nodes.

The editor saves a node's values as a list in the order of its widgets. Newer versions name the widgets among the node's
inputs; for older ones the order comes from the catalogue. Values without a known name become ``value_0`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from zimage_app.service.imports.comfy.catalogue import catalogue
from zimage_app.service.imports.comfy.graph import CUT, UNREAD, Graph, Link, Node, bounded

_MUTED, _BYPASSED = 2, 4
_NO_NODES = frozenset({"Note", "MarkdownNote", "Label (rgthree)", "Fast Groups Bypasser (rgthree)"})
_MAX_DEPTH = 8
"""Maximum nesting of subgraphs."""
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


@dataclass
class _Level:
    """One editor sheet: the main one, or the inside of a subgraph."""

    prefix: str
    nodes: dict[int | str, Mapping[str, Any]] = field(default_factory=dict)
    links: dict[int, tuple[int | str, int, str]] = field(default_factory=dict)
    """Link id -> (source node, number of its output, type of the value)."""
    ends: dict[int, int] = field(default_factory=dict)
    """For a subgraph: output number -> id of the link into it."""
    parent: _Level | None = None
    depth: int = 0
    outer: Mapping[str, Any] = field(default_factory=dict)
    """For a subgraph: the parent sheet's node that represents it."""
    inner: dict[int | str, _Level] = field(default_factory=dict)
    """Id of a node that represents a subgraph -> the subgraph's sheet."""
    fields: tuple[Mapping[str, Any], ...] = ()
    """For a subgraph: its inputs in the order of its definition."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """For a subgraph: values of its own fields by name."""
    set_inside: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """For a subgraph: (id of an inner node, widget name) -> value set on the outer node."""
    broadcast: dict[tuple[str, int], tuple[int | str, int]] = field(default_factory=dict)
    """(node id, input number) fed without a link (cg-use-everywhere) -> (source node, number of its output)."""


def editor_graph(data: Mapping[str, Any]) -> Graph:
    """Convert the editor's form, ``{"nodes": […], "links": […]}``.

    Raises:
        ImportedFileError: there are too many nodes.
    """
    definitions = data.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    subgraphs = {str(each.get("id")): each for each in _maps(listed)}
    sheets = [_level(data, "", None, {})]
    nodes = 0
    for sheet in sheets:  # the list grows during iteration
        nodes += len(sheet.nodes)
        bounded(nodes)
        sheets += _unfolded(sheet, subgraphs)
    graph = {node.id: node for sheet in sheets for node in _nodes(sheet)}
    for sheet in sheets:  # links can cross sheets, so all sheets must exist first
        _connect(graph, sheet)
    return graph


def _unfolded(level: _Level, subgraphs: Mapping[str, Mapping[str, Any]]) -> Iterator[_Level]:
    """Yield the sheets of a sheet's subgraph nodes."""
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
        for number, entry in enumerate(_maps(given.get("inputs"))) if node else ():
            end = _end(level, entry.get("link"), 0)
            if end is None and (begin := level.broadcast.get((str(key), number))) is not None:
                end = _output(level, *begin, str(entry.get("type")), 0)
            name = str(entry.get("name", ""))
            if node is None:
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


def _end(level: _Level, link: object, depth: int) -> Link | _Value | None:
    """Follow a link to its real source, through bypassed nodes, Get and Set nodes and subgraph boundaries."""
    begin = level.links.get(link) if isinstance(link, int) else None
    if begin is None or depth > 200:
        return None
    return _output(level, *begin, depth)


def _output(level: _Level, key: int | str, slot: int, kind: str, depth: int) -> Link | _Value | None:
    """Follow a node's output to its real source; None if there is none."""
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
        return _end(level, _passed(given, slot, kind), depth + 1)
    return f"{level.prefix}{key}", _slot(given, slot, kind)


def _slot(given: Mapping[str, Any], slot: int, kind: str) -> int:
    """Return the output number of a link, corrected if only another output has the link's type."""
    kinds = [each.get("type") for each in _maps(given.get("outputs"))]
    if 0 <= slot < len(kinds) and kinds[slot] not in (kind, "*") and kinds.count(kind) == 1:
        return kinds.index(kind)
    return slot


def _from_outside(level: _Level, slot: int, depth: int) -> Link | _Value | None:
    """Return the source of a subgraph's input, matched by name: the outer node may list inputs in another order."""
    if level.parent is None:
        return None
    entries = _maps(level.outer.get("inputs"))
    if 0 <= slot < len(level.fields):
        name = str(level.fields[slot].get("name", ""))
        entry = next((each for each in entries if each.get("name") == name), None)
    else:
        entry = entries[slot] if 0 <= slot < len(entries) else None
        name = str(entry.get("name", "")) if entry else ""
    end = _end(level.parent, entry.get("link"), depth + 1) if entry else None
    if end is not None:
        return end
    return _Value(level.given[name]) if name in level.given else None


def _passed(given: Mapping[str, Any], slot: int, kind: str) -> object:
    """Return the input link that a bypassed node passes on.

    That is the input at the output's position if its type fits, or else the first input of that very type, or else the
    first one that fits.
    """
    entries = _maps(given.get("inputs"))
    fitting = [entry for entry in entries if _fits(entry.get("type"), kind)]
    at_slot = [entry for entry in entries[max(slot, 0) : slot + 1] if entry in fitting]
    exact = [entry for entry in fitting if entry.get("type") == kind]
    return next((entry.get("link") for entry in (*at_slot, *exact, *fitting)), None)


def _fits(given: object, wanted: str) -> bool:
    """Whether two types of links are compatible: ``*`` is any type, and ``INT,FLOAT`` either one."""
    first, second = ({each.strip() for each in str(kind).lower().split(",")} for kind in (given, wanted))
    return "*" in first | second or bool(first & second)


def _taken_up(level: _Level, given: Mapping[str, Any], depth: int) -> Link | _Value | None:
    """Return the source stored by the Set node of the same name, in this sheet or an enclosing one."""
    wanted, setter = _values(given)[:1], _GETTERS[given["type"]]
    sheet: _Level | None = level
    while sheet is not None and wanted:
        for other in sheet.nodes.values():
            if other["type"] == setter and _values(other)[:1] == wanted and other.get("mode") != _MUTED:
                entries = _maps(other.get("inputs"))
                return _end(sheet, entries[0].get("link"), depth + 1) if entries else None
        sheet = sheet.parent
    return None


def _node(level: _Level, key: int | str, given: Mapping[str, Any]) -> Node:
    title = given.get("title")
    node = Node(f"{level.prefix}{key}", str(given["type"]), title if isinstance(title, str) else "", typed=True)
    node.outputs = tuple((str(each.get("name", "")), str(each.get("type", ""))) for each in _maps(given.get("outputs")))
    node.values = _named_values(given)
    node.values |= {name: value for (inside, name), value in level.set_inside.items() if inside == str(key)}
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


def _subgraph_values(level: _Level) -> None:
    """Read the values on a subgraph's outer node, and those that the sheet around it sets on that node."""
    properties = level.outer.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
    proxies = [(str(each[0]), str(each[1])) for each in listed or () if isinstance(each, list) and len(each) >= 2]
    _own_values(level, proxies)
    around = level.parent.set_inside if level.parent else {}
    names = [name for _, name in proxies]
    for name, value in ((name, value) for (inside, name), value in around.items() if inside == str(level.outer["id"])):
        value = value if names.count(name) < 2 else UNREAD
        through = {key: value for key in proxies if key[1] == name and key[0] != "-1"}
        level.set_inside = {**level.set_inside, **through}
        level.given = level.given if through else {**level.given, name: value}


def _own_values(level: _Level, proxies: list[tuple[str, str]]) -> None:
    """Read the values on a subgraph's outer node, in the definition's order or as listed by the node's proxies.

    The last proxies may be pictures and have no value.
    """
    values = _values(level.outer)
    if 0 < len(values) <= len(proxies):
        pairs = dict(zip(proxies, values, strict=False))
        told = {key: value for key, value in pairs.items() if value is not None}
        level.given = {name: value for (inside, name), value in told.items() if inside == "-1"}
        level.set_inside = {key: value for key, value in told.items() if key[0] != "-1"}
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


def _level(data: Mapping[str, Any], prefix: str, parent: _Level | None, outer: Mapping[str, Any]) -> _Level:
    level = _Level(prefix, parent=parent, depth=parent.depth + 1 if parent else 0, outer=outer)
    for given in _maps(data.get("nodes")):
        if isinstance(given.get("id"), int | str) and isinstance(given.get("type"), str):
            level.nodes[given["id"]] = given
    links = data.get("links")
    for link in links if isinstance(links, list) else ():
        _add_link(level, link)
    if parent is not None:
        level.fields = tuple(_maps(data.get("inputs")))
        _subgraph_values(level)
    extra = data.get("extra")
    for link in _maps(extra.get("ue_links")) if isinstance(extra, Mapping) else ():
        _add_broadcast(level, link)
    return level


def _add_broadcast(level: _Level, link: Mapping[str, Any]) -> None:
    end, number = link.get("downstream"), link.get("downstream_slot")
    begin, slot = link.get("upstream"), link.get("upstream_slot")
    key = next((key for key in level.nodes if str(key) == str(begin)), None)
    if isinstance(number, int) and isinstance(slot, int) and key is not None:
        level.broadcast[str(end), number] = (key, slot)


def _add_link(level: _Level, link: object) -> None:
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
