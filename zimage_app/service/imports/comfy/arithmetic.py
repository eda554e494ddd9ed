"""Evaluates arithmetic expressions of nodes, such as ``round(a / 64) * 64``, safely by walking their syntax tree."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

Number = int | float

_MAX_LENGTH = 400
_MAX_VALUE = 1e15
_BINARY: dict[type[ast.AST], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.AST], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CALLS: dict[str, Callable[..., Number]] = {
    "abs": abs, "ceil": math.ceil, "float": float, "floor": math.floor, "int": int, "max": max, "min": min,
    "round": round, "sqrt": math.sqrt,
}  # fmt: skip


def evaluate_expression(expression: str, names: Mapping[str, Number]) -> Number | None:
    """Return the value of an expression; None for anything but arithmetic of numbers and ``names``."""
    if len(expression) > _MAX_LENGTH:
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, names)
    except (ArithmeticError, AttributeError, KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return None


def _value(node: ast.expr, names: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(int() | float() as number):
            value: Number = number
        case ast.Name(name):
            value = names[name]
        case ast.UnaryOp(sign, of):
            value = _UNARY[type(sign)](_value(of, names))
        case ast.BinOp(left, ast.Pow(), right):
            base, power = _value(left, names), _value(right, names)
            if abs(power) > 16:
                raise ValueError("exponent too large")
            value = base**power
        case ast.BinOp(left, sign, right) | ast.Compare(left, [sign], [right]):
            value = _BINARY[type(sign)](_value(left, names), _value(right, names))
        case ast.IfExp(test, yes, no):
            value = _value(yes if _value(test, names) else no, names)
        case ast.Call(ast.Name(name), given, []):
            value = _CALLS[name](*(_value(each, names) for each in given))
        case _:
            raise ValueError("not arithmetic")
    if not -_MAX_VALUE < value < _MAX_VALUE:
        raise OverflowError("number too large")
    return value
