"""Roles of nodes that pass values on: constants, reroutes, switches, pipes and contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall, resolved
from zimage_app.service.imports.comfy.values import Bundle, Missing, Plain, Value

_BRANCH = Text("which of its inputs it takes isn't known", "无法得知它取哪个输入")
_EMPTY = Text("the input that it takes is linked to nothing", "它所取的输入没有连接")
_OFF = frozenset({"", "false", "off", "no", "0", "disable", "disabled", "none"})


def same(call: NodeCall) -> Mapping[str, Value]:
    """Return the input of the same name, or of the one that the row gives it, for every output."""
    return {name: value for name in call.kind.gives if (value := call.given(name) or call.inputs.get(name)) is not None}


def first_input(call: NodeCall) -> Mapping[str, Value]:
    """Return the only input as the only output, whatever its name."""
    value = next((call.inputs[name] for name in (*call.node.links, *call.node.values) if name in call.inputs), None)
    return {} if value is None else {call.kind.gives[0]: value}


def first_of(call: NodeCall) -> Mapping[str, Value]:
    """Return the first input with a value; the option ``of`` is the pattern of their names."""
    names = [name for pattern in _list(call.option("of")) for _, name in call.matching(pattern)]
    values = [call.inputs[name] for name in names if not _is_nothing(call.inputs[name])]
    return {call.kind.gives[0]: values[0] if values else call.missing(_EMPTY)}


def either(call: NodeCall) -> Mapping[str, Value]:
    """Return the input ``then`` or ``otherwise``, depending on ``switch``."""
    switch = call.plain("switch")
    names = (call.kind.takes.get("then", "on_true"), call.kind.takes.get("otherwise", "on_false"))
    on, off = (call.inputs.get(name) for name in names)
    if switch is None or isinstance(switch, Missing):
        chosen: Value = call.missing(_BRANCH)
    else:
        taken = on if truth(switch.data) else off
        chosen = call.missing(_EMPTY) if taken is None else taken.noted(*switch.notes)
    # Further outputs are numbers that aren't used here.
    return {call.kind.gives[0]: chosen}


def numbered(call: NodeCall) -> Mapping[str, Value]:
    """Return the input selected by a number (counted from ``base``), among those that fit the pattern ``of``."""
    select = call.known("select")
    inputs = {number: name for pattern in _list(call.option("of")) for number, name in call.matching(pattern)}
    if isinstance(select, str):
        select = next((int(word) for word in select.split() if word.isdigit() and len(word) < 5), None)
    if not isinstance(select, int | float):
        return {call.kind.gives[0]: call.missing(_BRANCH)}
    shift = 0 if call.option("base", 1) == 1 else min(inputs, default=0)
    name = inputs.get(int(select) + shift)
    return {call.kind.gives[0]: call.missing(_EMPTY) if name is None else call.inputs[name]}


def fork(call: NodeCall) -> Mapping[str, Value]:
    """Return the input on all outputs; the node itself uses only one of them."""
    value = call.given("value")
    return {} if value is None else dict.fromkeys(call.kind.gives, value)


def bundle(call: NodeCall) -> Mapping[str, Value]:
    """Return a pipe of the input pipes' parts and the node's other inputs; every part is an output of its name too.

    The option ``pipes`` names the inputs that hold pipes; later ones override earlier ones. The output is ``pipe``.
    """
    ours = {theirs: name for name, theirs in call.kind.takes.items()}
    pipes = [name for pattern in _list(call.option("pipes", "pipe")) for _, name in call.matching(pattern)]
    parts: dict[str, Value] = {}
    for name in pipes:
        before = resolved(call.inputs[name], Bundle, name)
        parts |= before.parts if before else {}
    given = {name: value for name, value in call.inputs.items() if name not in pipes and not _is_nothing(value)}
    parts |= {ours.get(name, name): value for name, value in given.items()}
    return {**{name: parts[name] for name in call.kind.gives if name in parts}, "pipe": Bundle(parts)}


def merged_bundle(call: NodeCall) -> Mapping[str, Value]:
    """Return the first linked pipe, or all merged; the option ``of`` is the pattern of their names."""
    names = [name for pattern in _list(call.option("of")) for _, name in call.matching(pattern)]
    there = [found for name in names if (found := resolved(call.inputs[name], Bundle, name)) is not None]
    if call.option("first", True):
        there = there[:1]
    parts = {name: value for each in reversed(there) for name, value in each.parts.items()}
    made: dict[str, Value] = {name: parts[name] for name in call.kind.gives if name in parts}
    return {"pipe": Bundle(parts), **made}


def truth(data: object) -> bool:
    """Whether a switch's value means on, as boolean, number or text."""
    return data.strip().lower() not in _OFF if isinstance(data, str) else bool(data)


def shown_text(call: NodeCall) -> Mapping[str, Value]:
    """Return the text that a display node showed last, if the file has it, or else its input."""
    for name in ("text_0", "shown"):
        value = call.inputs.get(name)
        if isinstance(value, Plain) and isinstance(value.data, str) and value.data.strip():
            return {call.kind.gives[0]: replace(value, choices=False)}
    value = call.plain("text")
    data = value.data if isinstance(value, Plain) else None
    if isinstance(data, list) and data and isinstance(data[0], str):
        return {call.kind.gives[0]: Plain(data[0])}
    return {} if value is None else {call.kind.gives[0]: value}


def _is_nothing(value: Value) -> bool:
    return (isinstance(value, Plain) and value.data is None) or (isinstance(value, Missing) and value.nothing)


def _list(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


ROLES = {
    "same": same,
    "reroute": first_input,
    "first of": first_of,
    "either": either,
    "numbered": numbered,
    "fork": fork,
    "bundle": bundle,
    "merged bundle": merged_bundle,
    "shown text": shown_text,
    "nothing": same,
}
