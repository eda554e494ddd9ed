"""Roles of sampler nodes: each adds one pass to its latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.schedules import TABLE_SIZE, list_length, stage_sigmas, whole_sigmas
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.guidance import nag, negative_of
from zimage_app.service.imports.comfy.roles.models import feature_note
from zimage_app.service.imports.comfy.roles.schedules import MAX_STEPS, OPTIONS, denoise_of_rest, without_folder
from zimage_app.service.imports.comfy.roles.sizes import sides
from zimage_app.service.imports.comfy.roles.texts import text_of
from zimage_app.service.imports.comfy.values import (
    Bundle,
    Conditioning,
    Guider,
    Missing,
    Noise,
    Note,
    Pass,
    PictureValue,
    Plain,
    Sampler,
    Sigmas,
    Value,
    merged,
    note_of,
)
from zimage_app.service.imports.names import sampler_and_scheduler, scheduler

FIELDS = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "cfg": ("cfg",),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
    "denoise": ("denoise",),
    "shift": (),
}
"""A stage's field -> its names in sampler nodes."""
_MAX_PASSES = 32
_NO_NOISE = Text("it adds no noise; a stage here always does", "它不加噪声；这里的阶段总会加噪声")
_OWN_WAY = Text(
    "it samples in a way of its own, which does not exist here; its seed and steps are taken",
    "它用自己的方式采样，这里没有；只取它的种子和步数",
)
_SCRIPT = Text(
    "the script that is linked to it (HighRes-Fix, noise, tiling) does not exist here; only its own pass is taken",
    "连接的脚本（HighRes-Fix、噪声、分块等）这里没有；只取它自己的一次采样",
)
_BEFORE = Text(
    "what it does to the start picture is not carried over; do it before you choose the picture",
    "它对起始图片的处理未带入；请先处理好图片再选择",
)
_ALL_SIGMAS = Text(
    "with separate sigmas this sampler uses them all; a stage here leaves out the last but one, as KSampler does",
    "使用单独的噪声序列时，此采样器会用到全部；这里的阶段与 KSampler 相同，会去掉倒数第二个",
)
_BETWEEN = Text("what it does between the samplers does not exist here", "它在两次采样之间的处理这里没有")


def run(
    call: NodeCall, latent: PictureValue, fields: Mapping[str, Value], notes: tuple[Note, ...] = ()
) -> PictureValue:
    """Return the latent after this sampler's pass; guider, sampler, sigmas and noise are inputs of these names."""
    guider = call.flow("guider", Guider)
    sampler, sigmas, noise = (call.flow("sampler", Sampler), call.flow("sigmas", Sigmas), call.flow("noise", Noise))
    fields = {**_of_parts(guider, sampler, sigmas, noise), **fields}
    if (noise and noise.off) or call.known("add_noise") in ("disable", False):
        notes = (*notes, call.note(_NO_NOISE))
    reason = _BETWEEN if latent.passes else _BEFORE
    between = [note_of(name, reason) for name in latent.changes] if latent.passes or latent.start else []
    if sigmas and _discards_penultimate(fields.get("sampler")):
        notes = (*notes, call.note(_ALL_SIGMAS))
    notes = merged(notes, latent.notes, between, *(part.notes for part in (guider, sampler, sigmas, noise) if part))
    own, extra_notes = nag(call)
    model, positive = (guider.model, guider.positive) if guider else (call.model(), call.conditioning("positive"))
    guidance = {**model.guidance, **positive.guidance, **(guider.guidance if guider else {}), **own}
    done = Pass(
        call.name,
        model,
        positive,
        guider.negative if guider else negative_of(call, guidance, fields.get("cfg")),
        fields,
        sigmas.model if sigmas else None,
        latent.size,
        latent.size_reason,
        latent.method,
        latent.decoded_by if latent.method else "",
        merged(notes, extra_notes),
        guidance,
    )
    passes = (*latent.passes, done)[:_MAX_PASSES]
    return PictureValue(size=latent.size, size_reason=latent.size_reason, passes=passes, start=latent.start)


def _discards_penultimate(sampler: Value | None) -> bool:
    name = sampler.data if isinstance(sampler, Plain) else None
    found = sampler_and_scheduler(name) if isinstance(name, str) else None
    return found is not None and SAMPLER_TRAITS[found[0]].discards_penultimate


def _of_parts(
    guider: Guider | None, sampler: Sampler | None, sigmas: Sigmas | None, noise: Noise | None
) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    if guider:
        fields["cfg"] = guider.cfg
    if sampler:
        fields |= {"sampler": sampler.name, **sampler.options}
    if sigmas:
        fields |= sigmas.fields
        if sigmas.own_names and "scheduler" in fields:
            fields["own_scheduler"] = fields.pop("scheduler")
    if noise and noise.seed is not None:
        fields["seed"] = noise.seed
    return fields


def sampler(call: NodeCall) -> Mapping[str, Value]:
    """Role of KSampler and nodes with its fields, also with separate guider, sampler and sigmas, or with a pipe."""
    pipe = call.flow("pipe", Bundle) if call.option("pipe") else None
    call = call.opened(pipe) if pipe else call
    latent = call.flow("latent_image", PictureValue) or PictureValue()
    fields = _own_fields(call)
    notes = call.unusual()
    if "sigmas" not in call.inputs:
        more, extra_notes = _part(call, fields) if call.option("part") else _from_step(call, fields)
        fields |= more
        notes = (*notes, *extra_notes)
    if call.option("options"):
        fields |= {name: value for name in OPTIONS if (value := call.plain(name)) is not None}
    if call.option("script") in call.node.links:
        notes = (*notes, call.note(_SCRIPT))
    if call.option("own_way"):
        notes = (*notes, call.note(_OWN_WAY))
    if call.option("feature"):
        notes = (*notes, feature_note(call, call.option("feature").split()))
    if call.option("sampler_prefix") and (name := without_folder(fields.get("sampler"))) is not None:
        fields["sampler"] = name
    picture = run(call, latent, fields, notes)
    image = replace(picture, decoded_by=call.name)
    made: dict[str, Value] = {"latent": picture, "image": image, "denoised": picture}
    if pipe:
        made["pipe"] = Bundle({**pipe.parts, "latent": picture, "image": image})
        made |= {name: value for name, value in pipe.parts.items() if name not in made}
    return made


def _own_fields(call: NodeCall) -> dict[str, Value]:
    found = {ours: call.plain(*theirs) for ours, theirs in FIELDS.items() if theirs}
    if call.option("part") and not call.option("pipe"):
        del found["denoise"]  # KSamplerAdvanced has none, whatever the file says
    return {name: value for name, value in found.items() if value is not None}


def text_sampler(call: NodeCall) -> Mapping[str, Value]:
    """Role of samplers that take texts and a size and return pixels."""
    names = ("seed", "steps", "cfg", "shift")
    fields: dict[str, Value] = {name: value for name in names if (value := call.plain(name)) is not None}
    cfg = call.known("cfg")
    if call.option("diffusers") and isinstance(cfg, int | float):  # diffusers' guidance scale is CFG minus 1
        fields["cfg"] = Plain(float(cfg + 1 if cfg > 1 else 1))
    size = sides(call)
    latent = PictureValue(size=size if isinstance(size, tuple) else None)
    if isinstance(size, Missing):
        latent = replace(latent, size_reason=size.reason)
    prompts = {call.kind.takes.get(name, name): Conditioning(text_of(call, name)) for name in ("positive", "negative")}
    extra_notes = (feature_note(call, call.option("feature").split()),) if call.option("feature") else ()
    picture = run(NodeCall(call.node, call.kind, {**call.inputs, **prompts}), latent, fields, extra_notes)
    return {"image": replace(picture, decoded_by=call.name)}


def _part(call: NodeCall, fields: Mapping[str, Value]) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """Convert KSamplerAdvanced's range of steps: a later start becomes a denoise below 1."""
    start, end = (call.known(name) for name in ("start_at_step", "end_at_step"))
    notes: list[Note] = []
    unknown = next((v for name in ("start_at_step", "end_at_step") if isinstance(v := call.plain(name), Missing)), None)
    if unknown:
        notes.append(
            call.note(
                Text(
                    f"which of its steps it runs isn't known, {unknown.reason.en}",
                    f"无法得知它运行哪些步，{unknown.reason.zh}",
                )
            )
        )
    found = _list_of(fields)
    if found is None:
        return {}, tuple(notes)
    whole, _ = found
    last = min(end, whole) if isinstance(end, int) else whole
    if isinstance(start, int) and start >= last:
        return {"denoise": Plain(0.0)}, tuple(notes)
    if last < whole:
        notes.append(
            call.note(
                Text(
                    f"it stops after {last} of {whole} steps; a stage here always runs to the end",
                    f"它在 {whole} 步中的第 {last} 步停止；这里的阶段总会跑完",
                )
            )
        )
    more, extra_notes = _from_step(call, fields, max(start, 0) if isinstance(start, int) else 0)
    return more, (*notes, *extra_notes)


def _from_step(
    call: NodeCall, fields: Mapping[str, Value], start: int = 0
) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """Return steps and denoise of a stage that does what KSampler does from the step ``start`` on."""
    steps, found = _number(fields.get("steps")), _list_of(fields)
    if found is None:
        return {}, ()
    whole, ours = found
    left = whole - start
    if left > ours:
        return {}, (call.note(_longer(left, ours)),)
    if start == 0 and left == steps:
        return {}, ()
    if start == 0:
        more = Text(f"{steps} steps, a list of {whole} → {left}", f"{steps} 步，实际序列 {whole} 步 → {left}")
        return {"steps": Plain(left)}, (call.note(more, translated=True),)
    denoise = denoise_of_rest(ours, left)
    summary = f"start_at_step {start}/{whole} → {left} × denoise {denoise:g}"
    notes = (call.note(Text(summary, summary), translated=True),)
    return {"steps": Plain(left), "denoise": Plain(denoise)}, notes


def _longer(theirs: int, ours: int) -> Text:
    return Text(
        f"this scheduler gives it {theirs} steps for {ours}, of which a stage here runs the last {ours}",
        f"对 {ours} 步，此调度器给出 {theirs} 步；这里的阶段只运行最后 {ours} 步",
    )


def _list_of(fields: Mapping[str, Value]) -> tuple[int, int] | None:
    """Return the steps of KSampler's list, and of the whole schedule of a stage that ends in the same list.

    None if steps or denoise aren't known. At denoise 1 KSampler takes a schedule that is longer than ``steps + 1``
    (ddim_uniform) as it is; a stage keeps the last ones.
    """
    steps, denoise = _number(fields.get("steps")), _number(fields.get("denoise", Plain(1.0)))
    if not isinstance(steps, int) or not isinstance(denoise, int | float) or not 0 < steps < MAX_STEPS:
        return None
    if denoise < 1:
        return (steps, list_length(steps, denoise)) if denoise * MAX_STEPS > steps else None
    name = _number(fields.get("scheduler"))
    ours = scheduler(name) if isinstance(name, str) else None
    if ours is None or steps > TABLE_SIZE:
        return steps, steps
    discards = _discards_penultimate(fields.get("sampler"))
    sigmas = whole_sigmas(ours, Stage().shift, steps, discard_penultimate=discards)
    whole = max(len(sigmas) - 1, steps)
    same = stage_sigmas(ours, Stage().shift, whole, 1.0, discard_penultimate=discards) == tuple(sigmas)
    return whole, whole if same else steps


def _number(value: Value | None) -> Any:
    return value.data if isinstance(value, Plain) else None


ROLES = {"sampler": sampler, "text sampler": text_sampler}
