"""Maps module names in LoRA files to rows of the model's parameters.

The original checkpoint and diffusers name some modules differently, and the original keeps q, k and v in one matrix.
Every tool adds its own prefix, with dots or with underscores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zimage_app.domain.lora_keys import COMFY_RANKS

Shape = tuple[int, ...]

_PREFIX = re.compile(
    r"(?:(?:base_model|model|diffusion_model|transformer|unet)[._]|(?:(?:lora|oft|boft)_unet|lora_transformer|lycoris|lora)_+)*"
)
_BLOCK = re.compile(r"(layers|noise_refiner|context_refiner)[._](\d{1,4})[._]")
_ORIGINAL_WORDS = (
    (re.compile(r"^all_(x_embedder|final_layer)\.\d+-\d+"), r"\1"),
    (re.compile(r"\.attention\.to_out\.0$"), ".attention.out"),
    (re.compile(r"\.attention\.norm_([qk])$"), r".attention.\1_norm"),
)
_Q = ".attention.to_q"


@dataclass(frozen=True, slots=True)
class Target:
    """The rows of a weight that one patch changes."""

    unit: tuple[str, ...]
    """Names of the parameters that form the weight when stacked by rows: three for q, k and v, otherwise one."""
    rows: tuple[int, int]
    """First row in the unit, and the row after the last."""
    shape: Shape
    """Shape of these rows."""
    fused: bool = False
    """Whether the target is q, k and v together."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """A module that a LoRA can change."""

    name: str
    """The original checkpoint's name, or diffusers' if there is none; for messages."""
    weight: Target
    bias: Target | None


@dataclass(frozen=True, slots=True)
class SpelledModule:
    """A module together with the priority of its spelling in a file."""

    place: LoraModule
    rank: int
    """Priority in ComfyUI, which uses the highest of several spellings of one module; 0: ComfyUI ignores it."""


class Names:
    """All spellings of all modules of one model.

    Args:
        shapes: name -> shape of the diffusers module's parameters.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._diffusers = _diffusers_places(shapes)
        self._original = _original_places(self._diffusers)
        self._dotted = {**_short_forms(self._diffusers), **self._diffusers, **self._original}
        self._spellings = {
            (words, joint): frozenset(name.replace(".", joint) for name in table)
            for words, table in (("original", self._original), ("diffusers", self._diffusers))
            for joint in "._"
        }
        self._blocks = {f"{match[1]}.{match[2]}" for name in self._dotted if (match := _BLOCK.search(name))}
        self._underscored = {name.replace(".", "_"): place for name, place in self._dotted.items()}

    def find(self, spelled: str) -> SpelledModule | None:
        """Return the module of a key without its adapter suffix; None if the model has no such module."""
        match = _PREFIX.match(spelled)
        prefix = match.group() if match else ""
        name = spelled[len(prefix) :]
        place = self._dotted.get(name) or self._underscored.get(name.replace(".processor", "").replace(".", "_"))
        return None if place is None else SpelledModule(place, self._rank(prefix, name))

    def has_layer(self, key: str) -> bool:
        """Whether the numbered block in a key exists in this model."""
        match = _BLOCK.search(key)
        return match is not None and f"{match[1]}.{match[2]}" in self._blocks

    def _rank(self, prefix: str, name: str) -> int:
        joint = "_" if prefix.endswith("_") else "."
        conventions = [words for words in ("original", "diffusers") if name in self._spellings[words, joint]]
        return max((COMFY_RANKS.get((prefix, words), 0) for words in conventions), default=0)


def _diffusers_places(shapes: Mapping[str, Shape]) -> dict[str, LoraModule]:
    modules = [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]
    return {
        module: LoraModule(_to_original(module), _weight(module, shapes), _bias(module, shapes)) for module in modules
    }


def _weight(module: str, shapes: Mapping[str, Shape]) -> Target:
    name = f"{module}.weight"
    shape = shapes[name]
    block, dot, part = module.rpartition(".attention.to_")
    if part not in {"q", "k", "v"}:
        return Target((name,), (0, shape[0]), shape)
    unit = tuple(f"{block}{dot}{letter}.weight" for letter in "qkv")
    first = sum(shapes[earlier][0] for earlier in unit[: unit.index(name)])
    return Target(unit, (first, first + shape[0]), shape)


def _bias(module: str, shapes: Mapping[str, Shape]) -> Target | None:
    name = f"{module}.bias"
    return Target((name,), (0, shapes[name][0]), shapes[name]) if name in shapes else None


def _to_original(module: str) -> str:
    for pattern, words in _ORIGINAL_WORDS:
        module = pattern.sub(words, module)
    return module


def _original_places(diffusers: Mapping[str, LoraModule]) -> dict[str, LoraModule]:
    """Return the modules by the original checkpoint's names; q, k and v exist only as one module there."""
    places = {place.name: place for place in diffusers.values() if len(place.weight.unit) == 1}
    for module in diffusers:
        if module.endswith(_Q):
            name = module.removesuffix("to_q") + "qkv"
            places[name] = LoraModule(name, _whole(diffusers, module), None)
    return places


def _whole(diffusers: Mapping[str, LoraModule], to_q: str) -> Target:
    stem = to_q.removesuffix("q")
    last = diffusers[f"{stem}v"].weight
    return Target(last.unit, (0, last.rows[1]), (last.rows[1], *last.shape[1:]), fused=True)


def _short_forms(diffusers: Mapping[str, LoraModule]) -> dict[str, LoraModule]:
    """Return spellings of ``to_out`` without its index, as older diffusers attention processors write it."""
    ending = ".to_out.0"
    return {name.removesuffix(".0"): place for name, place in diffusers.items() if name.endswith(ending)}
