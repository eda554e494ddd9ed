"""What flows along the links of a graph, as far as it matters to settings: texts, numbers, models, prompts, pictures.

Every value carries the notes that are told where it is used, and only there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import shown

Settings = Mapping[str, Any]
"""Settings of a stage that nodes bring: by the field's name a ``Value``, or a group of them by their names."""
_MAX_NOTES = 200
MAX_LORAS = 64
Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the user that belongs to a value."""

    text: Text
    translated: bool = False
    """Whether it goes to the list of what was translated, instead of what stays behind."""


def note_of(name: str, reason: Text, *, translated: bool = False) -> Note:
    """What is to be told of the node of that name."""
    return Note(Text(f"{shown(name)}: {reason.en}", f"{shown(name)}：{reason.zh}"), translated)


def merged(*groups: Iterable[Note]) -> tuple[Note, ...]:
    """All notes, each once."""
    return tuple(dict.fromkeys(note for notes in groups for note in notes))[:_MAX_NOTES]


@dataclass(frozen=True, slots=True)
class Value:
    """Anything that flows."""

    notes: tuple[Note, ...] = field(default=(), kw_only=True)

    def noted(self, *notes: Note) -> Self:
        """The same value with more to tell."""
        return replace(self, notes=merged(self.notes, notes)) if notes else self


@dataclass(frozen=True, slots=True)
class Plain(Value):
    """A text, number, switch or other plain data, which is known."""

    data: Any
    choices: bool = False
    """Whether ``{a|b}`` in this text is drawn anew in each run."""


@dataclass(frozen=True, slots=True)
class Missing(Value):
    """Something that isn't known, with the reason, which names the node."""

    reason: Text


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA that is put on a model."""

    file: Value
    strength: Value
    text_encoder: Value


@dataclass(frozen=True, slots=True)
class Loras(Value):
    """LoRAs on their way to a model, in order."""

    each: tuple[Lora, ...] = ()

    def then(self, more: Loras) -> Loras:
        """These, and others behind them."""
        return Loras((*self.each, *more.each)[:MAX_LORAS], notes=merged(self.notes, more.notes))


@dataclass(frozen=True, slots=True)
class Model(Value):
    """A model and what was put on it."""

    file: Value | None = None
    shift: Value | None = None
    """None: the model's own."""
    easycache: Mapping[str, Value] | None = None
    loras: tuple[Lora, ...] = ()
    guidance: Settings = field(default_factory=dict)
    differential: Value | None = None
    """Strength of differential diffusion, which acts where there is a mask."""


@dataclass(frozen=True, slots=True)
class Clip(Value):
    """A text encoder."""


@dataclass(frozen=True, slots=True)
class Vae(Value):
    """What turns latents into pixels."""


@dataclass(frozen=True, slots=True)
class Conditioning(Value):
    """A prompt as a sampler gets it."""

    text: Value | None = None
    zeroed: bool = False
    guidance: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampler(Value):
    """A way to step, with its options."""

    name: Value
    options: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sigmas(Value):
    """A schedule."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    """steps, scheduler, denoise, shift, as far as it has them."""
    model: Model | None = None
    """The model whose shift it is made with; None: the sampler's."""
    own_names: bool = False
    """Whether the scheduler's name is this app's own."""


@dataclass(frozen=True, slots=True)
class Noise(Value):
    """What a sampler starts from."""

    seed: Value | None = None
    off: bool = False


@dataclass(frozen=True, slots=True)
class Guider(Value):
    """Model, prompts and cfg together."""

    model: Model
    positive: Conditioning
    negative: Conditioning
    cfg: Value
    guidance: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pass:
    """One sampler's run, with all that led to it."""

    node: str
    model: Model
    positive: Conditioning
    negative: Conditioning
    fields: Mapping[str, Value]
    """seed, cfg, steps, sampler, scheduler, denoise, shift and the sampler's options, as far as they are said."""
    schedule_model: Model | None = None
    size: Size | None = None
    size_reason: Text | None = None
    """Why the size isn't known."""
    method: Value | None = None
    """How the latent was resized since the pass before; None: not at all."""
    decoded_by: str = ""
    """What turned it into pixels since the pass before, if it was resized there."""
    notes: tuple[Note, ...] = ()
    guidance: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mask(Value):
    """Which part of a picture is redrawn."""

    file: str = ""
    """Of the picture that it comes from; empty where it comes from none, or its name isn't known."""
    of_colours: bool = False
    """Whether it is how bright that picture is; else how transparent."""
    extend: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels of the canvas on the left, top, right and bottom that are redrawn beside what the file says."""
    feather: int = 0
    changes: tuple[str, ...] = ()
    """Nodes that change it."""

    def changed_by(self, node: str) -> Self:
        """With a node on its way that changes it."""
        return replace(self, changes=(*self.changes, node)[:_MAX_NOTES])


@dataclass(frozen=True, slots=True)
class Start:
    """A picture of the user's that the first pass begins with."""

    node: str
    """The node that loads it."""
    file: str = ""
    """Its name there; empty where it isn't known."""
    fit: str = "crop"
    padded_by: str = ""
    """The node that makes its canvas larger."""
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Picture(Value):
    """A latent or the picture of one: how it came about, and what happened since the last sampler."""

    size: Size | None = None
    size_reason: Text | None = None
    passes: tuple[Pass, ...] = ()
    method: Value | None = None
    decoded_by: str = ""
    start: Start | None = None
    """What it begins with, rather than with nothing."""
    changes: tuple[str, ...] = ()
    """Nodes since the last sampler that do something without a place here."""
    resizes: tuple[str, ...] = ()
    """Nodes since the last sampler that change the size."""

    def changed_by(self, node: str, size_reason: Text | None = None) -> Self:
        """With a node on its way that does something without a place here; ``size_reason``: the size isn't known."""
        if node in self.changes or len(self.changes) >= _MAX_NOTES:
            return self
        changed = replace(self, changes=(*self.changes, node))
        return replace(changed, size=None, size_reason=size_reason) if size_reason else changed


@dataclass(frozen=True, slots=True)
class Bundle(Value):
    """A pipe or context: several values under their names."""

    parts: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Foreign(Value):
    """An output of a node that isn't known here, with what its inputs carry, by the inputs' names."""

    node: str
    output: str = ""
    """The output's name, where the file tells it."""
    carried: Mapping[str, Value] = field(default_factory=dict)
    made: Mapping[str, Value] = field(default_factory=dict)
    """What the node itself makes, as far as its fields tell."""


NOT_KNOWN = Text("this node isn't known here", "这里不认识这个节点")


def missing(node: str, why: Text = NOT_KNOWN) -> Missing:
    """What the node of that name gives isn't known."""
    return Missing(Text(f"it comes from {shown(node)}: {why.en}", f"它来自 {shown(node)}：{why.zh}"))
