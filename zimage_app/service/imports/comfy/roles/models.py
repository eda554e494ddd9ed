"""Roles of nodes that load a model, or change it before it reaches a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.values import Clip, ModelValue, Note, Plain, Vae, Value
from zimage_app.service.imports.draft import shown
from zimage_app.service.imports.names import usual_part

_SD3 = Text(
    "only its shift is taken: it also scales the times by 1000, which Z-Image does not bear",
    "只取它的 shift：它还会把时间步（timestep）放大 1000 倍，而 Z-Image 不适用",
)
_OTHER_CACHE = Text("of the caches only EasyCache exists here", "缓存加速这里只有 EasyCache")
_SPEED_ONLY = Text("concerns speed or memory only; this app sees to that itself", "只影响速度或显存，本程序会自行处理")
_CHANGES_MODEL = Text("what it changes in the model does not exist here", "它对模型的改动这里没有")


def load_model(call: NodeCall) -> Mapping[str, Value]:
    """Return a model's file, with a text encoder and a VAE from it."""
    return {"model": ModelValue(call.plain("file")), "clip": Clip(), "vae": Vae()}


def load_part(call: NodeCall) -> Mapping[str, Value]:
    """Return a text encoder or VAE, with a note if its file isn't a usual one of Z-Image."""
    notes = part_notes(call, *call.option("files").split())
    return {"clip": Clip(notes=notes), "vae": Vae(notes=notes)}


def part_notes(call: NodeCall, *names: str) -> tuple[Note, ...]:
    """Return notes about text encoder and VAE files that aren't the usual ones of Z-Image."""
    files = [value.data for name in names if isinstance(value := call.plain(name), Plain)]
    unusual = [file for file in files if isinstance(file, str) and not usual_part(file)]
    if not unusual:
        return ()
    summary = shown(", ".join(unusual))
    return (call.note(Text(f"{summary}: the model's own is used", f"{summary}：使用模型自带的部件")),)


def shift(call: NodeCall) -> Mapping[str, Value]:
    """Set the model's shift; as in ComfyUI, the last one before the sampler counts."""
    model = replace(call.model(), shift=call.plain("shift"))
    return {"model": model.noted(call.note(_SD3)) if call.option("scales_times") else model}


def easycache(call: NodeCall) -> Mapping[str, Value]:
    """Set the model's EasyCache; the last one before the sampler counts."""
    names = {"threshold": "reuse_threshold", "start": "start_percent", "end": "end_percent"}
    cache = {ours: value for ours, theirs in names.items() if (value := call.plain(theirs)) is not None}
    return {"model": replace(call.model(), easycache=cache)}


def told_of_model(reason: Text) -> Callable[[NodeCall], Mapping[str, Value]]:
    """Make a role that passes a model on with a note about the node."""

    def role(call: NodeCall) -> Mapping[str, Value]:
        return {"model": call.model().noted(call.note(reason))}

    return role


def feature(call: NodeCall) -> Mapping[str, Value]:
    """Pass inputs on with a note, including values, that this app doesn't have the node's feature."""
    if call.option("unless") and call.known(call.option("unless")) in (0, False, "disable", "none"):
        return {}
    return call.passed(
        feature_note(call, [name for name in call.inputs if name not in call.option("hides", "").split()])
    )


def feature_note(call: NodeCall, names: Iterable[str]) -> Note:
    """Make a note about an unsupported feature with the values of the inputs ``names``."""
    values = [(name, call.known(name)) for name in names]
    summary = ", ".join(f"{name} {shown(value)[:40]}" for name, value in values if isinstance(value, int | float | str))
    summary = summary[:200]
    en, zh = (f" ({summary})", f"（{summary}）") if summary else ("", "")
    return call.note(Text(f"left out, this app doesn't have it{en}", f"未带入，本程序没有这个功能{zh}"))


ROLES = {
    "load model": load_model,
    "load part": load_part,
    "shift": shift,
    "easycache": easycache,
    "other cache": told_of_model(_OTHER_CACHE),
    "speed": told_of_model(_SPEED_ONLY),
    "change model": told_of_model(_CHANGES_MODEL),
    "feature": feature,
}
