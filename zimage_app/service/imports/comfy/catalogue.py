"""What is known of node classes: the tables in ``nodes/``, one row a class, checked when they are read.

A row says what the class ``does`` (a function of ``ROLES``), the order of its ``widgets`` in editor files (several
orders where versions differ), what its outputs ``give``, which of its inputs a role ``takes`` under another name, which
texts hold ``choices`` that ComfyUI's page draws, and options of its role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_TABLES = Path(__file__).parent / "nodes"
_FIELDS = frozenset({"does", "widgets", "gives", "takes", "choices", "with"})


@dataclass(frozen=True, slots=True)
class NodeKind:
    """One class of nodes."""

    name: str
    does: str
    widgets: tuple[tuple[str, ...], ...] = ()
    """Each version's order."""
    gives: tuple[str, ...] = ()
    """The outputs' names, in their order. What the role doesn't make is the input of that name."""
    takes: Mapping[str, str] = field(default_factory=dict)
    """The role's name of an input -> the node's own."""
    choices: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@cache
def catalogue() -> Mapping[str, NodeKind]:
    """All rows by their class; raises ValueError, with the class, where one is wrong."""
    kinds: dict[str, NodeKind] = {}
    for path in sorted(_TABLES.glob("*.yaml")):
        for name, row in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            if name in kinds:
                raise ValueError(f"{path.name}: {name} has a row already")
            kinds[name] = _kind(str(name), row)
    return kinds


def _kind(name: str, row: Mapping[str, Any]) -> NodeKind:
    keys = [key for part in ("takes", "with") for key in row.get(part, {})]
    if not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{name}: {keys} are read as something else than names; put quotes around them")
    if set(row) - _FIELDS or not isinstance(row.get("does"), str):
        raise ValueError(f"{name}: {sorted(set(row) - _FIELDS)} are no fields of a row, or it does nothing")
    versions = row.get("widgets", [])
    orders = [versions] if isinstance(versions, str) else versions
    return NodeKind(
        name,
        row["does"],
        tuple(tuple(order.split()) for order in orders),
        tuple(row.get("gives", "").split()),
        dict(row.get("takes", {})),
        tuple(row.get("choices", "").split()),
        dict(row.get("with", {})),
    )
