"""The catalogue of known node classes: the YAML tables in ``nodes/``, one row per class, checked when loaded.

A row names the class' role (``does``, a key of ``ROLES``), the order of its ``widgets`` in editor files (several if
versions differ; ``(lora_{n} weight_{n})*50`` is a part that is repeated with the numbers 1 to 50), the names of its
outputs (``gives``), inputs that the role knows under another name (``takes``), texts whose ``choices`` are drawn by
ComfyUI's page, and options of its role (``with``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_TABLES = Path(__file__).parent / "nodes"
_REPEATED = re.compile(r"\(([^()]*\{n\}[^()]*)\)\*(\d{1,2})")
_FIELDS = frozenset({"does", "widgets", "gives", "takes", "choices", "with"})


@dataclass(frozen=True, slots=True)
class NodeKind:
    """One node class."""

    name: str
    does: str
    widgets: tuple[tuple[str, ...], ...] = ()
    """Names of the widgets in order, one tuple per version."""
    gives: tuple[str, ...] = ()
    """Names of the outputs in order. An output that the role doesn't make is the input of that name."""
    takes: Mapping[str, str] = field(default_factory=dict)
    """The role's name of an input -> the node's own name."""
    choices: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@cache
def catalogue() -> Mapping[str, NodeKind]:
    """Return class -> row for all tables; raises ValueError, which names the class, for an invalid row."""
    kinds: dict[str, NodeKind] = {}
    for path in sorted(_TABLES.glob("*.yaml")):
        for name, row in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            if name in kinds:
                raise ValueError(f"{path.name}: {name} has a row already")
            kinds[name] = _kind(str(name), row)
    return kinds


def _numbered(repeated: re.Match[str]) -> str:
    return " ".join(repeated[1].replace("{n}", str(number)) for number in range(1, int(repeated[2]) + 1))


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
        tuple(tuple(_REPEATED.sub(_numbered, order).split()) for order in orders),
        tuple(row.get("gives", "").split()),
        dict(row.get("takes", {})),
        tuple(row.get("choices", "").split()),
        dict(row.get("with", {})),
    )
