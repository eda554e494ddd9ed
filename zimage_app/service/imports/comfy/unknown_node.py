"""Evaluates nodes without a row: passes values through, and reads fields whose names mean the same in all packs.

Nothing is guessed from the position of an output or a value, and everything read here is reported to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import UNNAMED, NodeCall, resolved, type_named
from zimage_app.service.imports.comfy.roles.loras import conventional_loras, put_on
from zimage_app.service.imports.comfy.roles.samplers import FIELDS, run
from zimage_app.service.imports.comfy.values import (
    Bundle,
    Clip,
    Conditioning,
    Guider,
    Loras,
    Missing,
    ModelValue,
    PictureValue,
    Plain,
    UnknownNodeOutput,
    Vae,
    Value,
)

_MAX_CARRIED = 64
_TEXTS = ("text", "prompt", "positive", "positive_prompt", "user_prompt")
_FILES = ("unet_name", "ckpt_name", "model_name", "model_path", "gguf_name", "diffusion_model", "base_ckpt_name")
_LATENTS = ("latent_image", "latent", "samples")
_SAMPLER_FIELDS = ("seed", "steps", "cfg", "sampler", "scheduler", "denoise")
_TEXT_TAKEN = Text(
    "this node isn't known here; its text is taken as the prompt", "无法识别此节点；取用其中的文字作为提示词"
)
_LORAS_TAKEN = Text(
    "this node isn't known here; its fields that name LoRAs are read", "无法识别此节点；读取了其中 LoRA 相关的字段"
)
_FILE_TAKEN = Text("this node isn't known here; the file that it names is taken", "无法识别此节点；取用其中写明的文件")
_SAMPLER_TAKEN = Text(
    "this sampler isn't known here; what its fields of the usual names say is taken, the rest is not",
    "无法识别此采样器；只取用名称通用的字段，其余未带入",
)


def unknown_node(call: NodeCall) -> UnknownNodeOutput:
    """Return the values carried by a node's inputs, and those that its recognisable fields make."""
    carried: dict[str, Value] = {}
    for name, value in call.inputs.items():
        wanted = type_named(name)
        flow = resolved(value, wanted, name) if wanted and isinstance(value, UnknownNodeOutput | Bundle) else value
        if isinstance(flow, UnknownNodeOutput):
            carried = {**flow.carried, **flow.made, **carried}
        elif isinstance(flow, Bundle):
            carried = {**flow.parts, **carried}
        elif flow is not None and not isinstance(flow, Plain | Missing):
            carried[name] = flow
        if len(carried) > _MAX_CARRIED:
            break
    made = {**_encoder(call, carried), **_loader(call, carried)}
    made |= _loras(call, {**carried, **made})
    made |= _sampler(call, carried)
    return UnknownNodeOutput(call.name, carried=carried, made=made)


def _has(values: Mapping[str, Value], kind: type[Value] | UnionType) -> bool:
    return any(isinstance(value, kind) for value in values.values())


def _encoder(call: NodeCall, carried: Mapping[str, Value]) -> dict[str, Value]:
    texts = [
        name for name in _TEXTS if isinstance(value := call.inputs.get(name), Plain) and isinstance(value.data, str)
    ]
    if not texts or _has(carried, Conditioning) or not _has(carried, Clip):
        return {}
    return {"conditioning": Conditioning(call.inputs[texts[0]], notes=(call.note(_TEXT_TAKEN),))}


def _loader(call: NodeCall, carried: Mapping[str, Value]) -> dict[str, Value]:
    files = [call.inputs[name] for name in _FILES if name in call.inputs]
    if not files or _has(carried, ModelValue):
        return {}
    return {"model": ModelValue(files[0], notes=(call.note(_FILE_TAKEN),)), "clip": Clip(), "vae": Vae()}


def _loras(call: NodeCall, values: Mapping[str, Value]) -> dict[str, Value]:
    found = conventional_loras(call)
    if not found.each and not found.notes:
        return {}
    found = found.noted(call.note(_LORAS_TAKEN)) if found.each else found
    models = {name: put_on(value, found) for name, value in values.items() if isinstance(value, ModelValue)}
    if models:
        return dict(models)
    before = next((value for value in values.values() if isinstance(value, Loras)), Loras())
    return {"loras": before.then(found)}


def _sampler(call: NodeCall, carried: Mapping[str, Value]) -> dict[str, Value]:
    latent = next((resolved(call.inputs[name], PictureValue, name) for name in _LATENTS if name in call.inputs), None)
    runs = _has(carried, Conditioning | Guider) or {"steps", "sigmas", "sampler_name"} & set(call.inputs)
    if latent is None or not _has(carried, ModelValue | Guider) or not runs:
        return {}
    fields = {ours: call.inputs[theirs] for ours, names in FIELDS.items() for theirs in names if theirs in call.inputs}
    if call.node.has_unnamed_values:
        fields = {**{name: call.missing(UNNAMED) for name in _SAMPLER_FIELDS}, **fields}
    return {"latent": run(call, latent, fields, (call.note(_SAMPLER_TAKEN),))}
