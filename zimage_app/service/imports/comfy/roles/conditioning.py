"""Nodes that make prompts of texts, and those that change a prompt on its way to a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.at import At
from zimage_app.service.imports.comfy.roles.texts import drawn_text, text_of
from zimage_app.service.imports.comfy.values import Clip, Conditioning, Plain, Value

_CHANGED = Text("what it does to the prompt is not carried over", "它对提示词的处理没有带过来")
_FIRST_ONLY = Text("of several conditionings the first is taken", "多个条件中只取第一个")
_GUIDANCE = Text("it has no effect on this model", "它对这个模型不起作用")


def encode(at: At) -> Mapping[str, Value]:
    """A prompt of the text in ``text``; other outputs are the inputs of their names."""
    return {"conditioning": encoded(at, text_of(at, "text", "prompt"))}


def encoded(at: At, text: Value | None) -> Conditioning:
    """A text as a prompt, by the node's text encoder."""
    clip = at.flow("clip", Clip)
    return Conditioning(text, notes=clip.notes if clip else ())


def encode_drawn(at: At) -> Mapping[str, Value]:
    """A prompt of a text with choices, as drawn last."""
    drawn = drawn_text(at.giving("text")).get("text")
    return {"conditioning": encoded(at, drawn), **({"text": drawn} if drawn else {})}


def zero(at: At) -> Mapping[str, Value]:
    """A prompt that is blanked."""
    return {"conditioning": replace(at.conditioning("conditioning"), zeroed=True)}


def combine(at: At) -> Mapping[str, Value]:
    """Several prompts, of which the first that has a text is taken."""
    found = [each for name in at.inputs if (each := at.flow(name, Conditioning)) is not None]
    if len(found) < 2:
        return {"conditioning": found[0] if found else Conditioning()}
    taken = next((each for each in found if _says(each)), found[0])
    return {"conditioning": taken.noted(at.note(_FIRST_ONLY))}


def _says(each: Conditioning) -> bool:
    return isinstance(each.text, Plain) and isinstance(each.text.data, str) and bool(each.text.data.strip())


def change(at: At) -> Mapping[str, Value]:
    """Hands prompts on and tells of the node: what it does has no place here."""
    return at.passed(at.note(_CHANGED))


def guidance(at: At) -> Mapping[str, Value]:
    """Guidance that only distilled models of other families read."""
    return at.passed(at.note(_GUIDANCE))


ROLES = {
    "encode": encode,
    "encode drawn": encode_drawn,
    "zero": zero,
    "combine": combine,
    "change prompt": change,
    "guidance": guidance,
}
