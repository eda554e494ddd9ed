"""Nodes that make prompts of texts, and those that change a prompt on its way to a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.at import At
from zimage_app.service.imports.comfy.roles.guidance import neg_pip
from zimage_app.service.imports.comfy.roles.texts import drawn_text, joined, styled, text_of
from zimage_app.service.imports.comfy.values import Clip, Conditioning, Note, Plain, Value

_CHANGED = Text("what it does to the prompt is not carried over", "它对提示词的处理没有带过来")
_FIRST_ONLY = Text("of several conditionings the first is taken", "多个条件中只取第一个")
_OWN_LORAS = Text("its LoRAs are not carried over; add them yourself", "其中的 LoRA 没有带过来；请自行添加")
_GUIDANCE = Text("it has no effect on this model", "它对这个模型不起作用")


def encode(at: At) -> Mapping[str, Value]:
    """A prompt of the text in ``text``, or of several that it ``joins``; other outputs are inputs of their names."""
    made: dict[str, Value] = {}
    text: Value | None = text_of(at, "text", "prompt")
    if at.option("joins"):
        text = made["text"] = joined(at, at.option("joins"), ", ")
    if at.option("loras"):
        made["model"] = at.model().noted(*_lora_notes(at))
    return {"conditioning": encoded(at, text), **made}


def _lora_notes(at: At) -> tuple[Note, ...]:
    """LoRAs in a form of its own."""
    return (at.note(_OWN_LORAS),) if str(at.known(at.option("loras"), "")).strip("[] ") else ()


def styled_encode(at: At) -> Mapping[str, Value]:
    """A prompt of a typed text, whose style's words are in the pack's own files."""
    made = styled(at.giving("text"))
    return {"conditioning": encoded(at, made.get("text")), "prompt": made.get("text", Plain("")), **made}


def subtracting_encode(at: At) -> Mapping[str, Value]:
    """Both prompts of texts, of which the negative one's phrases are subtracted."""
    settings, notes = neg_pip(at)
    made = {name: encoded(at, text_of(at, name)) for name in ("positive", "negative")}
    positive = replace(made["positive"], guidance=settings).noted(*notes)
    return {**made, "positive": positive}


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
    "styled encode": styled_encode,
    "subtracting encode": subtracting_encode,
    "zero": zero,
    "combine": combine,
    "change prompt": change,
    "guidance": guidance,
}
