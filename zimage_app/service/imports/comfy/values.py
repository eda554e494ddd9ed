"""The values carried by a graph's links, as far as they matter for settings: texts, numbers, models, prompts, pictures.

Every value carries notes, which are reported to the user only if the value is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import shown

Settings = Mapping[str, Any]
"""A stage's settings from nodes: field name -> ``Value``, or a mapping of them for a group."""
_MAX_NOTES = 200
MAX_LORAS = 64
Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True)
class Note:
    """A message for the user about a value."""

    text: Text
    translated: bool = False
    """Whether the note belongs to the list of translated settings instead of those left out."""


def note_of(name: str, reason: Text, *, translated: bool = False) -> Note:
    """Make a note about the node called ``name``."""
    return Note(Text(f"{shown(name)}: {reason.en}", f"{shown(name)}：{reason.zh}"), translated)


def merged(*groups: Iterable[Note]) -> tuple[Note, ...]:
    """Merge notes without duplicates."""
    return tuple(dict.fromkeys(note for notes in groups for note in notes))[:_MAX_NOTES]


@dataclass(frozen=True, slots=True)
class Value:
    """Base class of the values carried by links."""

    notes: tuple[Note, ...] = field(default=(), kw_only=True)

    def noted(self, *notes: Note) -> Self:
        """Return the value with more notes."""
        return replace(self, notes=merged(self.notes, notes)) if notes else self


@dataclass(frozen=True, slots=True)
class Plain(Value):
    """A known text, number, switch or other plain data."""

    data: Any
    choices: bool = False
    """Whether ``{a|b}`` in the text is drawn in each run."""


@dataclass(frozen=True, slots=True)
class Missing(Value):
    """An unknown value, with the reason, which names the node."""

    reason: Text
    nothing: bool = False
    """Whether no value reaches the input, as if nothing were linked to it."""


@dataclass(frozen=True, slots=True)
class LoraValue:
    """A LoRA that is applied to a model."""

    file: Value
    strength: Value
    text_encoder: Value


@dataclass(frozen=True, slots=True)
class Loras(Value):
    """A stack of LoRAs that isn't applied to a model yet."""

    each: tuple[LoraValue, ...] = ()

    def then(self, more: Loras) -> Loras:
        """Return this stack followed by another."""
        return Loras((*self.each, *more.each)[:MAX_LORAS], notes=merged(self.notes, more.notes))


@dataclass(frozen=True, slots=True)
class ModelValue(Value):
    """A model and the changes applied to it."""

    file: Value | None = None
    shift: Value | None = None
    """None means the model's default."""
    easycache: Mapping[str, Value] | None = None
    loras: tuple[LoraValue, ...] = ()
    guidance: Settings = field(default_factory=dict)
    differential: Value | None = None
    """Strength of differential diffusion, which only acts with a mask."""


@dataclass(frozen=True, slots=True)
class Clip(Value):
    """A text encoder."""


@dataclass(frozen=True, slots=True)
class Vae(Value):
    """A VAE."""


@dataclass(frozen=True, slots=True)
class Conditioning(Value):
    """An encoded prompt."""

    text: Value | None = None
    zeroed: bool = False
    guidance: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampler(Value):
    """A sampler object with its options."""

    name: Value
    options: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sigmas(Value):
    """A schedule."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    """Known ones of steps, scheduler, denoise and shift."""
    model: ModelValue | None = None
    """The model whose shift is used; None means the sampler's model."""
    own_names: bool = False
    """Whether the scheduler's name is this app's own."""


@dataclass(frozen=True, slots=True)
class Noise(Value):
    """A noise source of a sampler."""

    seed: Value | None = None
    off: bool = False


@dataclass(frozen=True, slots=True)
class Guider(Value):
    """A guider: model, prompts and cfg."""

    model: ModelValue
    positive: Conditioning
    negative: Conditioning
    cfg: Value
    guidance: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pass:
    """One sampler's run with all its inputs."""

    node: str
    model: ModelValue
    positive: Conditioning
    negative: Conditioning
    fields: Mapping[str, Value]
    """Known ones of seed, cfg, steps, sampler, scheduler, denoise, shift and the sampler's options."""
    schedule_model: ModelValue | None = None
    size: Size | None = None
    size_reason: Text | None = None
    """Why the size isn't known."""
    method: Value | None = None
    """How the latent was resized since the previous pass; None if it wasn't."""
    decoded_by: str = ""
    """The node that decoded it since the previous pass, if it was resized as pixels."""
    notes: tuple[Note, ...] = ()
    guidance: Settings = field(default_factory=dict)

    @property
    def redraws_nothing(self) -> bool:
        """Whether ComfyUI hands the latent on unchanged: denoise is 0."""
        denoise = self.fields.get("denoise")
        return isinstance(denoise, Plain) and isinstance(denoise.data, int | float) and denoise.data <= 0


@dataclass(frozen=True, slots=True)
class Mask(Value):
    """A mask of the part of a picture that is redrawn."""

    file: str = ""
    """Name of the mask's picture file; empty if there is none or it isn't known."""
    of_colours: bool = False
    """Whether the mask is the picture's brightness; otherwise it is its transparency."""
    extend: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Added pixels on the left, top, right and bottom of the canvas, which are redrawn too."""
    feather: int = 0
    changes: tuple[str, ...] = ()
    """Names of nodes that change the mask."""

    def changed_by(self, node: str) -> Self:
        """Return the mask with a node recorded that changes it."""
        return replace(self, changes=(*self.changes, node)[:_MAX_NOTES])


@dataclass(frozen=True, slots=True)
class Start:
    """The user's picture that the first pass starts from."""

    node: str
    """Name of the node that loads the picture."""
    file: str = ""
    """File name in the graph; empty if it isn't known."""
    fit: str = "crop"
    padded_by: str = ""
    """Name of the node that extends the canvas."""
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class PictureValue(Value):
    """A latent or decoded picture: the passes that made it, and its changes since the last sampler."""

    size: Size | None = None
    size_reason: Text | None = None
    passes: tuple[Pass, ...] = ()
    method: Value | None = None
    decoded_by: str = ""
    start: Start | None = None
    """The start picture; None for an empty latent."""
    changes: tuple[str, ...] = ()
    """Names of nodes since the last sampler whose effect isn't supported here."""
    resizes: tuple[str, ...] = ()
    """Names of nodes since the last sampler that change the size."""

    def changed_by(self, node: str, size_reason: Text | None = None) -> Self:
        """Return the picture with an unsupported node recorded; ``size_reason`` tells why its size isn't known."""
        if node in self.changes or len(self.changes) >= _MAX_NOTES:
            return self
        changed = replace(self, changes=(*self.changes, node))
        return replace(changed, size=None, size_reason=size_reason) if size_reason else changed


@dataclass(frozen=True, slots=True)
class Bundle(Value):
    """A pipe or context: several values by name."""

    parts: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnknownNodeOutput(Value):
    """An output of an unknown node."""

    node: str
    output: str = ""
    """The output's name, if the file has it."""
    carried: Mapping[str, Value] = field(default_factory=dict)
    """Values that the node's inputs carry, by input name."""
    made: Mapping[str, Value] = field(default_factory=dict)
    """Values that the node makes, as far as its fields show."""


NOT_KNOWN = Text("this node isn't known here", "无法识别此节点")


def missing(node: str, why: Text = NOT_KNOWN) -> Missing:
    """Make a Missing for an output of the node called ``node``."""
    return Missing(Text(f"it comes from {shown(node)}: {why.en}", f"它来自 {shown(node)}：{why.zh}"))
