"""Roles of a custom sampler's parts: noise, guiders, sampler objects and sigmas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.schedules import list_length
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.guidance import nag, negative_of
from zimage_app.service.imports.comfy.values import (
    Guider,
    Missing,
    ModelValue,
    Noise,
    Note,
    Plain,
    Sampler,
    Sigmas,
    Value,
)

OPTIONS = ("eta", "s_noise", "r", "solver_type")
_FLOW_KINDS = (
    ("use_karras_sigmas", "flow_match_karras"),
    ("use_exponential_sigmas", "flow_match_exponential"),
    ("use_beta_sigmas", "flow_match_beta"),
)
_FLOW_USUAL = (
    ("invert_sigmas", ("disable", False, None)),
    ("use_dynamic_shifting", ("disable", False, None)),
    ("stochastic_sampling", ("disable", False, None)),
    ("shift_terminal", (0, None)),
    ("num_train_timesteps", (1000, None)),
    ("start_at_step", (0, None)),
)
MAX_STEPS = 10_000
_NO_GUIDANCE = Text("this way of guidance does not exist here", "这里没有这种引导方式")
_NO_WRAP = Text(
    "what it does at each step does not exist here; the sampler inside it is taken",
    "它在每一步的处理这里没有；取用其中的采样器",
)
_NO_SIGMAS = Text("what it does to the schedule does not exist here", "它对噪声序列的改动这里没有")
_BETA = Text("alpha and beta are 0.6 here", "这里的 alpha 和 beta 固定为 0.6")
_MODELS_OWN = Text(
    "its sigma_min, sigma_max and rho are the model's own here", "这里的 sigma_min、sigma_max 和 rho 由模型决定"
)


def noise(call: NodeCall) -> Mapping[str, Value]:
    """Return noise from a seed, or no noise."""
    return {
        call.kind.gives[0]: Noise(call.plain("noise_seed"), off=bool(call.option("adds_none")), notes=call.unusual())
    }


def guider(call: NodeCall) -> Mapping[str, Value]:
    """Return a guider with model and prompts; CFG is 1 if the node has none."""
    cfg = call.plain("cfg") or Plain(1.0)
    settings, notes = nag(call)
    negative = negative_of(call, settings, cfg)
    made = Guider(call.model(), call.conditioning("positive"), negative, cfg, settings).noted(*notes)
    return {call.kind.gives[0]: made.noted(call.note(_NO_GUIDANCE)) if call.option("unusual") else made}


def sampler(call: NodeCall) -> Mapping[str, Value]:
    """Return a sampler object by the row's name or the one in ``sampler_name``, with the node's options."""
    name = call.plain("sampler_name")
    if (fixed := call.option("name")) is not None:
        name = Plain(f"{fixed}_gpu" if call.known("noise_device") == "gpu" else fixed)
    if call.option("prefix"):
        name = without_folder(name)
    options = {key: value for key in call.option("options", "").split() if (value := call.plain(key)) is not None}
    return {"sampler": Sampler(name or call.missing(_NO_WRAP), options, notes=call.unusual())}


def without_folder(name: Value | None) -> Plain | Missing | None:
    """Remove the folder of RES4LYF's sampler names: "multistep/res_2m" is res_2m."""
    if isinstance(name, Plain) and isinstance(name.data, str):
        return replace(name, data=name.data.rpartition("/")[2])
    return name if isinstance(name, Plain | Missing) else None


def wrapped_sampler(call: NodeCall) -> Mapping[str, Value]:
    """Return the inner sampler of a node that wraps one, with a note."""
    inner = call.flow("sampler", Sampler)
    return {"sampler": inner.noted(call.note(_NO_WRAP))} if inner else {}


def sigmas(call: NodeCall) -> Mapping[str, Value]:
    """Return a schedule by the row's name or the one in ``scheduler``."""
    fields = _fields(call, "steps", "denoise", "scheduler")
    notes: list[Note] = []
    if (fixed := call.option("scheduler")) is not None:
        fields["scheduler"] = Plain(fixed)
    if call.option("beta") and (call.known("alpha"), call.known("beta")) != (0.6, 0.6):
        notes.append(call.note(_BETA))
    if call.option("bounds"):
        notes.append(call.note(_MODELS_OWN))
    return {"sigmas": Sigmas(fields, call.flow("model", ModelValue), notes=tuple(notes))}


def flow_match(call: NodeCall) -> Mapping[str, Value]:
    """Return the flow_match schedule, whose shift is the node's own field (HOW-IT-COMPUTES.md section 3)."""
    kinds = [ours for theirs, ours in _FLOW_KINDS if call.known(theirs) in ("enable", True)]
    fields = {**_fields(call, "steps", "shift"), "scheduler": Plain(kinds[0] if kinds else "flow_match")}
    unusual = [name for name, usual in _FLOW_USUAL if call.known(name) not in usual]
    end, steps = call.known("end_at_step"), call.known("steps")
    if isinstance(end, int) and isinstance(steps, int) and end < steps:
        unusual.append("end_at_step")
    notes = tuple(call.note(Text(f"{name} does not exist here", f"这里没有 {name}")) for name in unusual)
    return {"sigmas": Sigmas(fields, own_names=True, notes=notes)}


def changed_sigmas(call: NodeCall) -> Mapping[str, Value]:
    """Return the unchanged input schedule of a node that changes it, with a note."""
    inner = next((found for name in call.inputs if (found := call.flow(name, Sigmas)) is not None), None)
    if inner is None:
        return dict.fromkeys(call.kind.gives, own_sigmas(call)["sigmas"])
    return dict.fromkeys(call.kind.gives, inner.noted(call.note(_NO_SIGMAS)))


def split_sigmas(call: NodeCall) -> Mapping[str, Value]:
    """Split a schedule into its first steps and the rest, which is a denoise below 1 (see ``denoise_of_rest``).

    The node says the step, or the rest's share of all steps in ``denoise``.
    """
    inner = call.flow("sigmas", Sigmas)
    length = _length(inner) if inner else None
    if inner is None or length is None:
        return changed_sigmas(call)
    steps, whole = length
    part, cut = call.known("denoise"), call.known("step")
    if isinstance(part, int | float):
        cut = steps - round(steps * part)
    if not isinstance(cut, int) or not 0 < cut < steps:
        return changed_sigmas(call)
    stops = Text(f"it stops after {cut} of {steps} steps; a stage here always runs to the end",
                 f"它在 {steps} 步中的第 {cut} 步停止；这里的阶段总会跑完")  # fmt: skip
    first = replace(inner, fields={**inner.fields, "steps": Plain(cut)}).noted(call.note(stops))
    left = steps - cut
    denoise = denoise_of_rest(whole, left)
    summary = f"step {cut}/{steps} → {left} × denoise {denoise:g}"
    rest = replace(inner, fields={**inner.fields, "steps": Plain(left), "denoise": Plain(denoise)})
    return {"sigmas": first, "low_sigmas": rest.noted(call.note(Text(summary, summary), translated=True))}


def _length(sigmas: Sigmas) -> tuple[int, int] | None:
    """Return the steps of a schedule, and of the whole one that its denoise cuts; None if they aren't known."""
    given = (sigmas.fields.get("steps"), sigmas.fields.get("denoise", Plain(1.0)))
    steps, denoise = (value.data if isinstance(value, Plain) else None for value in given)
    if not isinstance(steps, int) or not isinstance(denoise, int | float) or not 0 < steps < MAX_STEPS:
        return None
    whole = list_length(steps, denoise) if denoise * MAX_STEPS > steps else MAX_STEPS
    return (steps, whole) if whole < MAX_STEPS else None


def denoise_of_rest(whole: int, left: int) -> float:
    """Return the denoise for which ``int(left / denoise) == whole``, ComfyUI's rule for the whole schedule's length."""
    denoise = left / whole
    while int(left / denoise) < whole:  # rounding may make the quotient slightly too small
        denoise -= 1e-12
    return denoise


def own_sigmas(call: NodeCall) -> Mapping[str, Value]:
    """Return an unknown or hand-written schedule, of which only the number of steps is used."""
    fields = _fields(call, "steps", "denoise")
    if isinstance(listed := call.known("sigmas"), str):
        fields["steps"] = Plain(max(1, len(listed.replace(",", " ").split()) - 1))
    return {"sigmas": Sigmas({"scheduler": call.missing(_NO_SIGMAS), "steps": call.missing(_NO_SIGMAS), **fields})}


def _fields(call: NodeCall, *names: str) -> dict[str, Value]:
    return {name: value for name in names if (value := call.plain(name)) is not None}


ROLES = {
    "noise": noise,
    "guider": guider,
    "sampler object": sampler,
    "wrapped sampler": wrapped_sampler,
    "sigmas": sigmas,
    "flow match": flow_match,
    "changed sigmas": changed_sigmas,
    "split sigmas": split_sigmas,
    "own sigmas": own_sigmas,
}
