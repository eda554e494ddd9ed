"""Roles of nodes that apply LoRAs to a model, or collect them in a stack for another node."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from zimage_app.domain.errors import RequestError
from zimage_app.domain.prompt_tags import split_tags, without_refused_tags
from zimage_app.domain.text import Text
from zimage_app.service.imports import fields
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.switches import truth
from zimage_app.service.imports.comfy.values import (
    MAX_LORAS,
    Loras,
    LoraValue,
    Missing,
    ModelValue,
    Note,
    Plain,
    Value,
    merged,
)
from zimage_app.service.imports.draft import shown

_NONE = frozenset({"", "none", "disabled"})
_NAME = re.compile(r"lora(?:_name)?(?:_?(\d+))?|lora_(\d+)_name", re.IGNORECASE)
_TWO_STRENGTHS = re.compile(r"(<lora:[^<>:]{1,200}):([-+.\d]{1,12}):([-+.\d]{1,12})>")
_STRENGTHS = ("strength_model", "model_weight", "model_str", "lora_model_strength", "model_strength", "lora_strength",
              "strength", "lora_wt", "weight", "lora_weight")  # fmt: skip
_SWITCHES = ("switch", "enabled", "on", "toggle")
_STRENGTH_UNKNOWN = Text("its strength isn't known", "无法得知它的强度")
_PARTLY = Text("it puts on parts of the LoRA only; here the whole acts", "它只让 LoRA 的一部分起作用；这里整个起作用")
Reader = Callable[[NodeCall], Iterator[LoraValue]]


def _role(read: Reader) -> Callable[[NodeCall], Mapping[str, Value]]:
    """Make a role that adds the LoRAs of ``read`` to the model and the stack, if the node has these outputs."""

    def role(call: NodeCall) -> Mapping[str, Value]:
        own = Loras(tuple(islice(read(call), MAX_LORAS)))
        if call.node.has_unnamed_values and (not own.each or any(isinstance(each.file, Missing) for each in own.each)):
            own = Loras(notes=tuple(_unread(call)))
        whole = Loras()
        for name in call.inputs:
            if (stack := call.flow(name, Loras)) is not None:
                whole = whole.then(stack)
        whole = whole.then(own.noted(call.note(_PARTLY)) if call.option("partly") and own.each else own)
        made: dict[str, Value] = {"stack": whole}
        if "model" in call.kind.gives:
            made["model"] = put_on(call.model(), whole)
        return {name: made[name] for name in call.kind.gives if name in made}

    return role


def put_on(model: ModelValue, loras: Loras) -> ModelValue:
    """Return a model with more LoRAs."""
    return replace(model, loras=(*model.loras, *loras.each)[:MAX_LORAS], notes=merged(model.notes, loras.notes))


def _single(call: NodeCall) -> Iterator[LoraValue]:
    switch = call.plain(call.option("active", ""))
    if (isinstance(switch, Plain) and not truth(switch.data)) or call.known("bypass") is True:
        return
    yield from _lora(call.given("lora_name"), call.plain("strength_model"), call.plain("strength_clip"))


def _lora(file: Value | None, strength: Value | None, text: Value | None) -> Iterator[LoraValue]:
    if file is None or (isinstance(file, Plain) and not _is_file(file.data)):
        return
    if not isinstance(file, Plain | Missing):
        return
    if isinstance(file, Plain) and isinstance(file.data, dict):  # some nodes store the name with display data
        inner = file.data.get("content", file.data.get("name"))
        file = replace(file, data=inner)
        if not _is_file(inner):
            return
    strength = Plain(1.0) if strength is None else strength
    yield LoraValue(file, strength, strength if text is None else text)


def _is_file(data: object) -> bool:
    return isinstance(data, dict) or (isinstance(data, str) and data.strip().lower() not in _NONE)


def _numbered(call: NodeCall) -> Iterator[LoraValue]:
    """Read numbered inputs; ``file``, ``strength``, ``text`` and ``active`` are patterns, also inside ``modes``."""
    if (toggle := call.plain("toggle")) is not None and not (isinstance(toggle, Plain) and truth(toggle.data)):
        return
    options = {**call.kind.options, **call.option("modes", {}).get(str(call.known("mode", "")), {})}
    count = call.known("count")
    inputs = {key: _numbered_inputs(call, options.get(key, "")) for key in ("active", "strength", "text")}
    for number, name in call.matching(options["file"]):
        if isinstance(count, int) and number > count:
            continue
        switch = inputs["active"].get(number)
        if isinstance(switch, Plain) and not truth(switch.data):
            continue
        yield from _lora(call.inputs[name], inputs["strength"].get(number), inputs["text"].get(number))


def _numbered_inputs(call: NodeCall, pattern: str) -> dict[int, Value]:
    return {number: call.inputs[name] for number, name in call.matching(pattern)} if pattern else {}


def _listed(call: NodeCall) -> Iterator[LoraValue]:
    """Read entries with file, strength and switch, each in its own field or in lists."""
    for value in call.inputs.values():
        if isinstance(value, Plain):
            yield from _entries(value.data)


def _entries(given: object) -> Iterator[LoraValue]:
    if isinstance(given, Mapping):
        inner = given.get("__value__")
        if isinstance(inner, list):
            yield from _entries(inner)
            return
        file = given.get("lora", given.get("name"))
        acts = given.get("on", given.get("active", given.get("enabled", True)))
        if isinstance(file, str) and _is_file(file) and acts is True:
            strength = given.get("strength", given.get("strength_model", 1.0))
            text = given.get("strengthTwo", given.get("clipStrength", given.get("strength_clip")))
            yield LoraValue(
                Plain(file), Plain(fields.number(strength)), Plain(fields.number(strength if text is None else text))
            )
    elif isinstance(given, list):
        for entry in given[:MAX_LORAS]:
            if isinstance(entry, Mapping) and "__value__" not in entry:
                yield from _entries(entry)


def _written(call: NodeCall) -> Iterator[LoraValue]:
    """Read ``<lora:name:strength>`` tags of a text, or the node's list of LoRAs if it has one."""
    listed = list(_listed(call))
    if listed:
        yield from listed
        return
    text = call.plain("text")
    if isinstance(text, Missing):
        yield LoraValue(text, text, text)
    elif text is not None and isinstance(text.data, str):
        yield from tagged(text.data)


def tagged(text: str) -> Iterator[LoraValue]:
    """Yield the LoRAs of a text's tags; one that can't be read has its reason instead of a file."""
    plain, refused = without_refused_tags(tags_as_here(text))
    try:
        tags = split_tags(plain)[1]
    except RequestError as error:
        tags, refused = (), (*refused, error)
    for each in refused:
        why = Missing(each.reason)
        yield LoraValue(why, why, why)
    for tag in tags:
        yield LoraValue(Plain(tag.name), Plain(tag.strength), Plain(tag.strength if tag.unused is None else tag.unused))


def tags_as_here(text: str) -> str:
    """Return a text whose tags have their two strengths in this app's order: ComfyUI's nodes put the model's first."""
    return _TWO_STRENGTHS.sub(r"\1:\3:\2>", text)


def with_tags_on(model: ModelValue, text: Value | None) -> ModelValue:
    """Return a model with the LoRAs of a text's tags."""
    data = text.data if isinstance(text, Plain) else None
    return put_on(model, Loras(tuple(tagged(data)))) if isinstance(data, str) else model


def _none(_at: NodeCall) -> Iterator[LoraValue]:
    yield from ()


def lora_texts(call: NodeCall) -> Mapping[str, Value]:
    """Return a text without its LoRA tags, and the model with those LoRAs."""
    text = call.plain("text")
    made: dict[str, Value] = {"model": put_on(call.model(), Loras(tuple(_written(call))))}
    if isinstance(text, Plain) and isinstance(text.data, str):
        made["text"] = replace(text, data=re.sub(r"<lora:[^<>]{1,300}>", "", text.data))
    return {name: made[name] for name in call.kind.gives if name in made}


# Nodes without a row.


def conventional_loras(call: NodeCall) -> Loras:
    """Return the LoRAs of a node without a row, by field names that are common to node packs."""
    found = list(_listed(call))
    for name, value in call.inputs.items():
        match = _NAME.fullmatch(name)
        if match and isinstance(value, Plain) and isinstance(value.data, str):
            number = match[1] or match[2] or ""
            if not _switched_off(call, number):
                strength = _conventional(call, _STRENGTHS, number) or call.missing(_STRENGTH_UNKNOWN)
                found += _lora(value, strength, strength)
    return Loras(tuple(found[:MAX_LORAS]), notes=() if found else tuple(_unread(call)))


def _conventional(call: NodeCall, names: tuple[str, ...], number: str) -> Value | None:
    spelt = [(f"{name}_{number}", f"{name}{number}", f"lora_{number}_{name}") if number else (name,) for name in names]
    return next((call.inputs[each] for several in spelt for each in several if each in call.inputs), None)


def _switched_off(call: NodeCall, number: str) -> bool:
    switch = _conventional(call, _SWITCHES, number) if number else None
    return isinstance(switch, Plain) and not truth(switch.data)


def _unread(call: NodeCall) -> Iterator[Note]:
    """Yield notes about LoRA files among unnamed values, which can't be imported."""
    if "lora" not in call.node.kind.lower():
        return
    for name, value in call.inputs.items():
        if call.node.has_unnamed_values and not name.startswith("value_"):
            continue
        if isinstance(value, Plain) and isinstance(value.data, str) and value.data.lower().endswith(".safetensors"):
            file = shown(value.data)
            yield call.note(
                Text(
                    f"the LoRA {file} is left out, its strength can't be told from this file",
                    f"从这个文件无法得知 LoRA {file} 的强度，未带入",
                )
            )


ROLES = {
    "lora": _role(_single),
    "numbered loras": _role(_numbered),
    "listed loras": _role(_listed),
    "written loras": _role(_written),
    "apply loras": _role(_none),
    "lora texts": lora_texts,
}
