"""Roles of guidance nodes that this app supports as a group of a stage's settings, similar but not equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from zimage_app.domain.guidance import is_guided_by_one
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.values import Conditioning, ModelValue, Note, Plain, Settings, Value
from zimage_app.service.imports.draft import shown

_NO_EFFECT = Text(
    "it has no effect on Z-Image in ComfyUI either; this app's NAG, in the stages' guidance, has",
    "它在 ComfyUI 中对 Z-Image 也不起作用；可使用本程序各阶段「引导」中的 NAG",
)
_ENDING = Text(
    "left out: here seed variance acts at the beginning of a stage only",
    "未带入：本程序的种子差异只作用于阶段的开头",
)
_NAG_INPUTS = {"scale": "nag_scale", "tau": "nag_tau", "alpha": "nag_alpha", "sigma_start": "nag_sigma_start",
               "sigma_end": "nag_sigma_end"}  # fmt: skip
_ALL_LEVELS = 1.0
"""RenormCFG's cfg_trunc above which its CFG acts at all noise levels; at 1 itself not in a first step from 1."""


def nag(call: NodeCall) -> tuple[Settings, tuple[Note, ...]]:
    """Return the NAG settings of a sampler or guider of ComfyUI-NAG; empty if NAG is off."""
    if call.known("nag_scale", 0) in (0, 1):
        return {}, ()
    settings = {ours: value for ours, theirs in _NAG_INPUTS.items() if (value := call.plain(theirs)) is not None}
    return {"nag": settings}, (_similar(call, "nag", settings),)


def negative_of(call: NodeCall, guided: Settings, cfg: Value | None) -> Conditioning:
    """Return the effective negative prompt: NAG has its own, which is the only one used at CFG 1."""
    own = call.flow("nag_negative", Conditioning) if "nag" in guided else None
    by_one = isinstance(cfg, Plain) and isinstance(cfg.data, int | float) and is_guided_by_one(cfg.data)
    return own if own is not None and (by_one or cfg is None) else call.conditioning("negative")


def renorm_cfg(call: NodeCall) -> tuple[Settings, tuple[Note, ...]]:
    """RenormCFG: CFG's norm is limited to ``renorm_cfg`` times the positive one's; CFG acts below ``cfg_trunc``.

    Strictly below it, so ``cfg_start``, at which CFG acts here, is the float32 number before it.
    """
    settings: dict[str, Any] = {}
    notes: list[Note] = []
    if call.known("renorm_cfg", 1.0) != 0 and (max_norm := call.plain("renorm_cfg")) is not None:
        limit = {"of": Plain("denoised"), "most": max_norm}
        settings["cfg_limit"] = limit
        notes.append(_similar(call, "cfg_limit", limit))
    below = call.known("cfg_trunc")
    if isinstance(below, int | float) and 0 <= below <= _ALL_LEVELS:
        settings["cfg_start"] = Plain(float(np.nextafter(np.float32(below), np.float32(0))))
        notes.append(_similar(call, "cfg_start", {"cfg_trunc": Plain(below)}))
    return settings, tuple(notes)


def seed_variance(call: NodeCall) -> tuple[Settings, tuple[Note, ...]]:
    """SeedVarianceEnhancer: noise on a share of the prompt's features, during the first steps or all of them."""
    place = str(call.known("noise_insert", "noise on beginning steps"))
    if call.known("strength", 0) == 0 or place == "disabled":
        return {}, ()
    if "ending" in place:
        return {}, (call.note(_ENDING),)
    settings: dict[str, Value] = {"noise": Plain("absolute")}
    if (strength := call.plain("strength")) is not None:
        settings["strength"] = strength
    parts = {"share": "randomize_percent", "end": "steps_switchover_percent"}
    if "all" in place:
        del parts["end"]
    for ours, theirs in parts.items():
        percent = call.plain(theirs)
        if isinstance(percent, Plain) and isinstance(percent.data, int | float):
            settings[ours] = Plain(percent.data / 100)
        elif percent is not None:
            settings[ours] = percent
    return {"variance": settings}, (_similar(call, "variance", settings),)


def neg_pip(call: NodeCall) -> tuple[Settings, tuple[Note, ...]]:
    """NegPiP: a negative prompt whose phrases are subtracted."""
    return {"negpip": {}}, (_similar(call, "negpip", {}),)


READERS: dict[str, Callable[[NodeCall], tuple[Settings, tuple[Note, ...]]]] = {
    "renorm cfg": renorm_cfg,
    "seed variance": seed_variance,
}


def guide(call: NodeCall) -> Mapping[str, Value]:
    """Pass models and prompts on with the settings that the row's reader (``reads``) takes from the node."""
    settings, notes = READERS[call.option("reads")](call)
    made = call.passed(*notes)
    return {name: guided(flow, settings) for name, flow in made.items()}


def guided(flow: Value, settings: Settings) -> Value:
    """Return a model or prompt with more guidance settings for the stage that uses it."""
    if isinstance(flow, ModelValue | Conditioning):
        return replace(flow, guidance={**flow.guidance, **settings})
    return flow


def no_effect(call: NodeCall) -> Mapping[str, Value]:
    """Pass inputs on with a note: ComfyUI's own NAGuidance finds no attention in Z-Image to act on."""
    return call.passed(call.note(_NO_EFFECT))


def _similar(call: NodeCall, field: str, settings: Mapping[str, Value]) -> Note:
    known = {name: value.data for name, value in settings.items() if isinstance(value, Plain)}
    summary = ", ".join(f"{name} {shown(value)}" for name, value in known.items())
    en, zh = (f" ({summary})", f"（{summary}）") if summary else ("", "")
    title = knob_of(Stage, field).title
    text = Text(f"→ {title.en}{en}; similar, not equal", f"→ {title.zh}{zh}；相近，但不完全相同")
    return call.note(text, translated=True)


ROLES = {"guide": guide, "no effect": no_effect}
