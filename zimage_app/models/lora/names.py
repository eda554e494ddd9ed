"""What Z-Image's modules are called in LoRA files, and which rows of which parameters they mean.

Knows spellings and shapes; no files, no arithmetic. The original checkpoint and diffusers name some modules
differently, and the original keeps q, k and v in one matrix. Every tool adds its own prefix, with dots or with
underscores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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
_COMFY_RANKS = {
    ("lora_unet_", "original"): 1,
    ("diffusion_model.", "original"): 2,
    ("diffusion_model.", "diffusers"): 3,
    ("transformer.", "diffusers"): 4,
    ("lycoris_", "diffusers"): 5,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Rows of a weight: what one patch acts on."""

    unit: tuple[str, ...]
    """The parameters whose rows, one under the other, make the weight: three for q, k and v, else one."""
    rows: tuple[int, int]
    """First row of the unit, and the one after the last."""
    shape: Shape
    """Of these rows."""
    fused: bool = False
    """q, k and v in one."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """A module that a LoRA can name."""

    name: str
    """For messages: the original name, or diffusers' where there is none."""
    weight: Target
    bias: Target | None


@dataclass(frozen=True, slots=True)
class SpelledModule:
    """A module as a file spells it."""

    place: LoraModule
    rank: int
    """0: ComfyUI ignores this spelling. Else, of two spellings of one module, ComfyUI takes the higher rank."""


class Names:
    """Every spelling of every module of one model.

    Args:
        shapes: the diffusers module's parameters, name -> shape.
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
        """The module behind a key without its adapter suffix; None when the model has none of that name."""
        match = _PREFIX.match(spelled)
        prefix = match.group() if match else ""
        name = spelled[len(prefix) :]
        place = self._dotted.get(name) or self._underscored.get(name.replace(".processor", "").replace(".", "_"))
        return None if place is None else SpelledModule(place, self._rank(prefix, name))

    def has_layer(self, key: str) -> bool:
        """Whether the block that a key names by its number is one of this model's."""
        match = _BLOCK.search(key)
        return match is not None and f"{match[1]}.{match[2]}" in self._blocks

    def _rank(self, prefix: str, name: str) -> int:
        joint = "_" if prefix.endswith("_") else "."
        conventions = [words for words in ("original", "diffusers") if name in self._spellings[words, joint]]
        return max((_COMFY_RANKS.get((prefix, words), 0) for words in conventions), default=0)


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
    """The original checkpoint's names: q, k and v only together."""
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
    """``to_out`` without its index, as older diffusers attention processors say it."""
    ending = ".to_out.0"
    return {name.removesuffix(".0"): place for name, place in diffusers.items() if name.endswith(ending)}
