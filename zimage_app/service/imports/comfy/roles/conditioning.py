"""Roles of nodes that encode texts as prompts (conditioning), or change a prompt before it reaches a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.guidance import neg_pip
from zimage_app.service.imports.comfy.roles.loras import with_tags_on
from zimage_app.service.imports.comfy.roles.texts import drawn_text, joined, styled, text_of
from zimage_app.service.imports.comfy.values import Clip, Conditioning, Note, Plain, Value
from zimage_app.service.imports.draft import shown

_CHANGED = Text("what it does to the prompt is not carried over", "它对提示词的处理未带入")
_FIRST_ONLY = Text("of several conditionings the first is taken", "多个条件中只取第一个")
_SYSTEM = Text("this system prompt, put before the text there, is left out", "原本加在文字前的系统提示词未带入")
_OWN_LORAS = Text("its LoRAs are not carried over; add them yourself", "其中的 LoRA 未带入；请自行添加")
_GUIDANCE = Text("it has no effect on this model", "它对这个模型不起作用")


def encode(call: NodeCall) -> Mapping[str, Value]:
    """Encode ``text``, or several texts that the row ``joins``; other outputs are the inputs of their names."""
    made: dict[str, Value] = {}
    text: Value | None = text_of(call, "text", "prompt")
    if call.option("joins"):
        text = made["text"] = joined(call, call.option("joins"), ", ")
    if call.option("loras"):
        made["model"] = call.model().noted(*_lora_notes(call))
    if call.option("leaves") and isinstance(text, Plain) and (summary := call.known(call.option("leaves"))):
        text = text.noted(call.note(Text(f"{shown(summary)}: {_SYSTEM.en}", f"{shown(summary)}：{_SYSTEM.zh}")))
    if call.option("tags"):
        made["model"] = with_tags_on(call.model(), text)
    return {"conditioning": encoded(call, text), **made}


def _lora_notes(call: NodeCall) -> tuple[Note, ...]:
    """Return a note if the node has LoRAs, which it stores in its own format."""
    return (call.note(_OWN_LORAS),) if str(call.known(call.option("loras"), "")).strip("[] ") else ()


def styled_encode(call: NodeCall) -> Mapping[str, Value]:
    """Encode a typed text; the words of its style are in the node pack's files and unknown."""
    made = styled(call.giving("text"))
    return {"conditioning": encoded(call, made.get("text")), "prompt": made.get("text", Plain("")), **made}


def subtracting_encode(call: NodeCall) -> Mapping[str, Value]:
    """Encode positive and negative text; the negative one's phrases are subtracted (NegPiP)."""
    settings, notes = neg_pip(call)
    made = {name: encoded(call, text_of(call, name)) for name in ("positive", "negative")}
    positive = replace(made["positive"], guidance=settings).noted(*notes)
    return {**made, "positive": positive}


def encoded(call: NodeCall, text: Value | None) -> Conditioning:
    """Encode a text with the node's text encoder."""
    clip = call.flow("clip", Clip)
    return Conditioning(text, notes=clip.notes if clip else ())


def encode_drawn(call: NodeCall) -> Mapping[str, Value]:
    """Encode a text with choices, as drawn in the last run, and put the LoRAs of its tags on the model."""
    drawn = drawn_text(call.giving("text")).get("text")
    made: dict[str, Value] = {"conditioning": encoded(call, drawn), "model": with_tags_on(call.model(), drawn)}
    return {**made, **({"text": drawn} if drawn else {})}


def zero(call: NodeCall) -> Mapping[str, Value]:
    """Return a zeroed prompt."""
    return {"conditioning": replace(call.conditioning("conditioning"), zeroed=True)}


def combine(call: NodeCall) -> Mapping[str, Value]:
    """Return the first of several prompts that has a text, with a note."""
    found = [each for name in call.inputs if (each := call.flow(name, Conditioning)) is not None]
    if len(found) < 2:
        return {"conditioning": found[0] if found else Conditioning()}
    taken = next((each for each in found if _says(each)), found[0])
    return {"conditioning": taken.noted(call.note(_FIRST_ONLY))}


def _says(each: Conditioning) -> bool:
    return isinstance(each.text, Plain) and isinstance(each.text.data, str) and bool(each.text.data.strip())


def change(call: NodeCall) -> Mapping[str, Value]:
    """Pass prompts on with a note that the node's effect isn't supported."""
    return call.passed(call.note(_CHANGED))


def guidance(call: NodeCall) -> Mapping[str, Value]:
    """Pass prompts on with a note that this guidance has no effect: only other families' distilled models use it."""
    return call.passed(call.note(_GUIDANCE))


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
