"""One node's evaluation: gives roles access to the node's input values by the role's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.catalogue import NodeKind
from zimage_app.service.imports.comfy.graph import Node
from zimage_app.service.imports.comfy.values import (
    Bundle,
    Clip,
    Conditioning,
    Guider,
    Mask,
    Missing,
    ModelValue,
    Noise,
    Note,
    PictureValue,
    Plain,
    Sampler,
    Sigmas,
    UnknownNodeOutput,
    Vae,
    Value,
    missing,
    note_of,
)
from zimage_app.service.imports.draft import shown

Flow = TypeVar("Flow", bound=Value)
MAX_TEXT = 100_000
"""Maximum characters of a text that are read; far more than a prompt may have."""
UNNAMED = Text(
    "this file holds its values without their names, in an order that isn't known here",
    "这个文件里它的数值没有名称，而其顺序未知",
)
_COMMENT = re.compile(r"/\*.*?(?:\*/|(?P<open>\Z))|//[^\n]*", re.DOTALL)
"""A comment, or all text after an unclosed ``/*``, so that later ones aren't searched for the end again."""
_LINE_COMMENT = re.compile(r"//[^\n]*")
_PREFIXES: tuple[tuple[str, type[Value]], ...] = (
    ("model", ModelValue), ("unet", ModelValue), ("clip", Clip), ("vae", Vae), ("positive", Conditioning),
    ("negative", Conditioning), ("conditioning", Conditioning), ("latent", PictureValue), ("samples", PictureValue),
    ("image", PictureValue), ("pixels", PictureValue), ("mask", Mask),
)  # fmt: skip
"""(prefix of an input's or output's name, type of value that it carries), common to all node packs."""
_CHANGED: dict[type[Value], Text] = {
    **dict.fromkeys(
        (Guider, Sampler, Sigmas, Noise, Clip, Vae),
        Text(
            "this node isn't known here; what it changes is not carried over",
            "无法识别此节点；它所做的改动未带入",
        ),
    ),
    ModelValue: Text(
        "this node isn't known here; what it changes in the model is not carried over",
        "无法识别此节点；它对模型的改动未带入",
    ),
    Conditioning: Text(
        "this node isn't known here; what it does to the prompt is not carried over",
        "无法识别此节点；它对提示词的处理未带入",
    ),
}


class NodeCall:
    """A node with its row of the catalogue and its input values."""

    def __init__(self, node: Node, kind: NodeKind, inputs: Mapping[str, Value]) -> None:
        self.node = node
        self.kind = kind
        self.inputs = inputs
        """Input values by the node's own names."""

    @property
    def name(self) -> str:
        """The node's name for messages."""
        return self.node.name

    def giving(self, *names: str) -> NodeCall:
        """Return the same node with other outputs."""
        return NodeCall(self.node, replace(self.kind, gives=names), self.inputs)

    def option(self, name: str, otherwise: Any = None) -> Any:
        """Return an option of the row, or ``otherwise``."""
        return self.kind.options.get(name, otherwise)

    def given(self, name: str) -> Value | None:
        """Return an input by the role's name; None if the node doesn't have it."""
        return self.inputs.get(self.kind.takes.get(name, name))

    def plain(self, *names: str) -> Plain | Missing | None:
        """Return the first existing one of the named inputs as plain data."""
        value = next((found for name in names if (found := self.given(name)) is not None), None)
        return None if value is None else self.as_plain(value)

    def as_plain(self, value: Value) -> Plain | Missing:
        """Return a value as plain data, or as Missing if it is of another type."""
        if isinstance(value, Plain | Missing):
            return value
        return missing(value.node if isinstance(value, UnknownNodeOutput) else self.name)

    def known(self, name: str, otherwise: Any = None) -> Any:
        """Return an input's plain data, or ``otherwise`` if it isn't known."""
        value = self.plain(name)
        return value.data if isinstance(value, Plain) else otherwise

    def flow(self, name: str, wanted: type[Flow]) -> Flow | None:
        """Return an input of one type; None if it isn't linked, or is linked to a value of another type."""
        value = self.given(name)
        return None if value is None else resolved(value, wanted, name)

    def passed(self, *notes: Note) -> dict[str, Value]:
        """Return, for each output, the input of the same name, resolved to the name's type and with ``notes`` added."""
        flows = {name: type_named(name) for name in self.kind.gives if self.given(name) is not None}
        made = {name: self.flow(name, kind) for name, kind in flows.items() if kind}
        return {name: flow.noted(*notes) for name, flow in made.items() if flow is not None}

    def model(self, name: str = "model") -> ModelValue:
        """Return a model input; an empty ``ModelValue`` if nothing is linked."""
        return self.flow(name, ModelValue) or ModelValue()

    def conditioning(self, name: str) -> Conditioning:
        """Return a conditioning input; an empty one if nothing is linked."""
        return self.flow(name, Conditioning) or Conditioning()

    def matching(self, pattern: str) -> list[tuple[int, str]]:
        """Return (n, name) of the inputs whose own name fits ``pattern``, in which ``{n}`` is a number, sorted by n."""
        if "{n}" not in pattern:
            return [(0, pattern)] if pattern in self.inputs else []
        shape = re.compile(re.escape(pattern).replace(r"\{n\}", r"0*(\d{1,3})"))
        return sorted((int(match[1]), name) for name in self.inputs if (match := shape.fullmatch(name)))

    def opened(self, pipe: Bundle) -> NodeCall:
        """Return the same node with the parts of a pipe as default inputs."""
        parts = {self.kind.takes.get(name, name): value for name, value in pipe.parts.items()}
        return NodeCall(self.node, self.kind, {**parts, **self.inputs})

    def note(self, reason: Text, *, translated: bool = False) -> Note:
        """Make a note for the user about the node."""
        return note_of(self.name, reason, translated=translated)

    def unusual(self) -> tuple[Note, ...]:
        """Make a note for each input that this app has no setting for and that isn't the row's usual value."""
        usual: Mapping[str, Any] = self.option("usual", {})
        found = [(name, value) for name in usual if (value := self.known(name, usual[name])) != usual[name]]
        return tuple(
            self.note(Text(f"{name} {shown(value)} does not exist here", f"这里没有 {name} {shown(value)}"))
            for name, value in found
        )

    def missing(self, why: Text) -> Missing:
        """Make a Missing for the node's output, with the reason."""
        return missing(self.name, why)


def type_named(name: str) -> type[Value] | None:
    """Return the type of value of an input or output by its name; None if the name is not a usual one."""
    return next((kind for prefix, kind in _PREFIXES if name.lower().startswith(prefix)), None)


def written(text: Any, *, drawn: bool) -> Plain:
    """Return the value of a node's own field. ``drawn``: ComfyUI's page draws its choices and strips comments."""
    if isinstance(text, str):
        text = text[:MAX_TEXT]
        if drawn:
            text = _COMMENT.sub(_not_closed, text)
    return Plain(text, choices=drawn and isinstance(text, str) and "{" in text)


def _not_closed(comment: re.Match[str]) -> str:
    """Return ComfyUI's replacement for a match of ``_COMMENT``: an unclosed ``/*`` stays as plain text."""
    return "" if comment["open"] is None else _LINE_COMMENT.sub("", comment[0])


def resolved(value: Value, wanted: type[Flow], name: str) -> Flow | None:
    """Resolve a value to an input's type, out of a bundle or through an unknown node; None if that's impossible."""
    if isinstance(value, wanted):
        return value
    if isinstance(value, Bundle):
        return _chosen(value.parts, wanted, ("", name))
    if isinstance(value, UnknownNodeOutput):
        return _through(value, wanted, name)
    if isinstance(value, Missing) and not value.nothing:
        return _unknown(wanted, value)
    return None


def _through(foreign: UnknownNodeOutput, wanted: type[Flow], name: str) -> Flow | None:
    names = (foreign.output, name)
    if (made := _chosen(foreign.made, wanted, names)) is not None:
        return made
    found = _chosen(foreign.carried, wanted, names)
    if found is None:
        return _unknown(wanted, missing(foreign.node))
    if isinstance(found, PictureValue):
        return _kept(found.changed_by(foreign.node, missing(foreign.node).reason), wanted)
    if isinstance(found, Mask):
        return _kept(found.changed_by(foreign.node), wanted)
    reason = _CHANGED.get(wanted)
    return found.noted(note_of(foreign.node, reason)) if reason else found


def _kept(value: Value, wanted: type[Flow]) -> Flow | None:
    return value if isinstance(value, wanted) else None


def _unknown(wanted: type[Flow], why: Missing) -> Flow | None:
    made: tuple[Value, ...] = (
        PictureValue(size_reason=why.reason),
        Conditioning(text=why),
        ModelValue(file=why),
        Sampler(why),
        Sigmas({"steps": why, "scheduler": why}),
        Noise(why),
        Guider(ModelValue(file=why), Conditioning(text=why), Conditioning(text=why), why),
    )
    return next((value for value in made if isinstance(value, wanted)), None)


def _chosen(parts: Mapping[str, Value], wanted: type[Flow], names: tuple[str, ...]) -> Flow | None:
    """Return the only value of the type; of several, the picture with most passes, or the one whose name fits."""
    fitting = {name: value for name, value in parts.items() if isinstance(value, wanted)}
    if len({id(value) for value in fitting.values()}) == 1:
        return next(iter(fitting.values()))
    sampled = [value for value in fitting.values() if isinstance(value, PictureValue) and value.passes]
    if sampled:
        return _kept(max(sampled, key=lambda picture: len(picture.passes)), wanted)
    for asked in names:
        side = _side(asked)
        for name, value in fitting.items():
            if asked and (name.lower() == asked.lower() or (side and _side(name) == side)):
                return value
    return None


def _side(name: str) -> str:
    low = name.lower()
    if "neg" in low or low.endswith("-"):
        return "negative"
    return "positive" if "pos" in low or low.endswith("+") else ""
