"""Roles of nodes that compute numbers: arithmetic, conversions, comparisons, seeds."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.arithmetic import evaluate_expression
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.values import Missing, Plain, Value

_NOT_WORKED_OUT = Text("what it works out isn't known", "无法得知它的计算结果")
_SIGNS = {
    "add": "a + b", "sum": "a + b", "+": "a + b", "addition": "a + b", "sub": "a - b", "subtract": "a - b",
    "-": "a - b", "subtraction": "a - b", "mul": "a * b", "multiply": "a * b", "*": "a * b", "multiplication": "a * b",
    "div": "a / b", "divide": "a / b", "/": "a / b", "division": "a / b", "floordiv": "a // b", "//": "a // b",
    "mod": "a % b", "modulo": "a % b", "modulus": "a % b", "%": "a % b", "pow": "a ** b", "power": "a ** b",
    "exponentiation": "a ** b", "min": "min(a, b)", "max": "max(a, b)", "floor": "floor(a)", "ceil": "ceil(a)",
    "abs": "abs(a)", "neg": "-a", "double": "a * 2", "half": "a / 2", "inc": "a + 1", "dec": "a - 1", "sqr": "a * a",
}  # fmt: skip
_COMPARED: dict[str, Callable[[object, object], bool]] = {
    "==": operator.eq, "eq": operator.eq, "a == b": operator.eq, "!=": operator.ne, "a != b": operator.ne,
}  # fmt: skip
_ORDERED = {"<": "a < b", ">": "a > b", "<=": "a <= b", ">=": "a >= b", "lt": "a < b", "gt": "a > b", "lte": "a <= b",
            "gte": "a >= b"}  # fmt: skip
_WHOLE: dict[str, Callable[[int | float], int | float]] = {"int": int, "boolean": bool}


def arithmetic(call: NodeCall) -> Mapping[str, Value]:
    """Evaluate the row's or node's ``expression``, or the operator in ``op``; an output named ``int`` is truncated."""
    names: dict[str, int | float] = {}
    for name in call.inputs:
        value = call.plain(name)
        if isinstance(value, Missing) and not value.nothing:
            return dict.fromkeys(call.kind.gives, value)
        number = _number(value)
        if number is not None:
            names[name.rpartition(".")[2]] = number
    names |= {ours: names[theirs] for ours, theirs in call.kind.takes.items() if theirs in names}
    result = evaluate_expression(_expression(call), names)
    if result is None:
        return dict.fromkeys(call.kind.gives, call.missing(_NOT_WORKED_OUT))
    return {name: Plain(_WHOLE.get(name, float)(result)) for name in call.kind.gives}


def _expression(call: NodeCall) -> str:
    if (fixed := call.option("expression")) is not None:
        return str(fixed)
    sign = call.known("op")
    if isinstance(sign, str):
        return _SIGNS.get(sign.strip().lower(), "")
    return re.sub(r"\b(\w+)\.value\b", r"\1", str(call.known("formula", ""))).replace("^", "**")


def convert(call: NodeCall) -> Mapping[str, Value]:
    """Convert a value to the type that each output's name begins with: int, float, text or bool."""
    value = call.plain(*call.inputs) if call.inputs else None
    made: dict[str, Value] = {}
    for name in call.kind.gives:
        if isinstance(value, Plain):
            turned = _turned(name, value)
            made[name] = call.missing(_NOT_WORKED_OUT) if turned is None else turned
        elif value is not None:
            made[name] = value
    return made


def _turned(name: str, value: Plain) -> Plain | None:
    if name.startswith("text"):
        return replace(value, data=value.data if isinstance(value.data, str) else str(value.data))
    number = _number(value)
    if number is None:
        return value if not name.startswith(("int", "float")) else None
    if name.startswith("int"):
        return replace(value, data=int(number))
    if name.startswith("float"):
        return replace(value, data=float(number))
    return replace(value, data=bool(number)) if name.startswith("bool") else value


def compare(call: NodeCall) -> Mapping[str, Value]:
    """Compare two values by the operator in ``op``."""
    a, b = call.plain("a"), call.plain("b")
    sign = str(call.known("op", "")).strip()
    result: bool | None = None
    if isinstance(a, Plain) and isinstance(b, Plain):
        if sign.lower() in _COMPARED:
            result = _COMPARED[sign.lower()](a.data, b.data)
        else:
            words = _ORDERED.get(sign.lower()) or _ORDERED.get(sign.replace("a ", "").replace(" b", ""))
            x, y = _number(a), _number(b)
            found = evaluate_expression(words, {"a": x, "b": y}) if words and x is not None and y is not None else None
            result = None if found is None else bool(found)
    return {call.kind.gives[0]: call.missing(_NOT_WORKED_OUT) if result is None else Plain(result)}


def seed(call: NodeCall) -> Mapping[str, Value]:
    """Return a seed; a negative one was drawn at run time and isn't in the file."""
    value = call.plain("seed", "noise_seed", "value")
    if isinstance(value, Plain) and isinstance(value.data, int | float) and value.data < 0:
        value = call.missing(
            Text("it was drawn when the workflow ran, and the file doesn't hold it", "它在运行时随机抽取，文件里没有")
        )
    return {} if value is None else {**dict.fromkeys(call.kind.gives, value)}


def _number(value: Value | None) -> int | float | None:
    if not isinstance(value, Plain) or isinstance(value.data, list | dict):
        return None
    if isinstance(value.data, int | float):
        return value.data
    for read in (int, float):
        try:
            return read(str(value.data).strip()[:40])
        except ValueError:
            continue
    return None


ROLES = {"arithmetic": arithmetic, "convert": convert, "compare": compare, "seed": seed}
