"""LoRA nodes: one loader, stacks, rgthree's power loader. All read as (file, strength, text encoder's)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zimage_app.service.imports.comfy.graph import Graph, Node, origin, value

_NAME = re.compile(r"lora(?:_name)?(?:_?(\d+))?", re.IGNORECASE)
_NONE = frozenset({"", "none"})
_MOST = 64


@dataclass(frozen=True, slots=True)
class LoraOf:
    """One LoRA that a node puts on; values are as they stand in the file."""

    file: str
    strength: Any
    text_encoder: Any


def has_loras(node: Node) -> bool:
    """Whether a node is a LoRA loader or stack."""
    return "lora" in node.kind.lower() or any(_NAME.fullmatch(name) for name in node.values)


def loras_of(graph: Graph, node: Node) -> list[LoraOf]:
    """What a node puts on, in order; those that are switched off are not in it."""
    found: list[LoraOf] = []
    seen: set[str] = set()
    at: Node | None = node
    while at is not None and at.id not in seen and len(found) < _MOST:
        seen.add(at.id)
        found = [*_own(graph, at), *found]
        at = origin(graph, at, "lora_stack", "optional_lora_stack", "prev_lora")
    return found[:_MOST]


def _own(graph: Graph, node: Node) -> Iterator[LoraOf]:
    for name, given in node.values.items():
        match = _NAME.fullmatch(name)
        if isinstance(given, Mapping | list):
            yield from _entries(given)
        elif match and isinstance(given, str) and given.strip().lower() not in _NONE:
            number = match[1] or ""
            if not _switched_off(node, number):
                strength = _first(
                    graph, node, number, ("strength_model", "model_weight", "model_str", "strength", "lora_wt")
                )
                text = _first(graph, node, number, ("strength_clip", "clip_weight", "clip_str"))
                yield LoraOf(given, 1.0 if strength is None else strength, strength if text is None else text)


def _entries(given: object) -> Iterator[LoraOf]:
    """An entry of rgthree's or a LoRA manager's, or a list of them."""
    if isinstance(given, Mapping):
        inner = given.get("__value__")
        if isinstance(inner, list):
            yield from _entries(inner)
            return
        file = given.get("lora", given.get("name"))
        if (
            isinstance(file, str)
            and file.strip().lower() not in _NONE
            and given.get("on", given.get("active", True)) is True
        ):
            strength = given.get("strength", 1.0)
            text = given.get("strengthTwo", given.get("clipStrength"))
            yield LoraOf(file, strength, strength if text is None else text)
    elif isinstance(given, list):
        for entry in given[:_MOST]:
            if isinstance(entry, Mapping) and "__value__" not in entry:
                yield from _entries(entry)


def _switched_off(node: Node, number: str) -> bool:
    switch = next((node.values[key] for key in (f"switch_{number}", f"enabled_{number}") if key in node.values), None)
    return switch in (False, "Off", "off")


def _first(graph: Graph, node: Node, number: str, names: tuple[str, ...]) -> Any:
    spelt = [
        spelling for name in names for spelling in ((f"{name}_{number}", f"{name}{number}") if number else (name,))
    ]
    return value(graph, node, *[name for name in spelt if name in node.values or name in node.links] or spelt)
