"""Roles of sampler nodes: each adds one pass to its latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.guidance import nag, negative_of
from zimage_app.service.imports.comfy.roles.models import feature_note
from zimage_app.service.imports.comfy.roles.schedules import OPTIONS, rest_of_steps, without_folder
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
from zimage_app.service.imports.names import sampler_and_scheduler

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
    fields: dict[str, Value] = {}
    for ours, theirs in FIELDS.items():
        value = call.plain(*theirs) if theirs else None
        if value is not None:
            fields[ours] = value
    notes = call.unusual()
    if call.option("part"):
        more, extra_notes = _part(call)
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


def _part(call: NodeCall) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """Convert KSamplerAdvanced's range of steps: a later start becomes a denoise below 1."""
    steps, start, end = (call.known(name) for name in ("steps", "start_at_step", "end_at_step"))
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
    if not isinstance(steps, int) or not 0 < steps < 10_000:
        return {}, tuple(notes)
    if isinstance(end, int) and end < steps:
        notes.append(
            call.note(
                Text(
                    f"it stops after {end} of {steps} steps; a stage here always runs to the end",
                    f"它在 {steps} 步中的第 {end} 步停止；这里的阶段总会跑完",
                )
            )
        )
    if not isinstance(start, int) or not 0 < start < steps:
        return {}, tuple(notes)
    left, denoise = rest_of_steps(steps, start)
    summary = f"start_at_step {start}/{steps} → {left} × denoise {denoise:g}"
    notes.append(call.note(Text(summary, summary), translated=True))
    return {"steps": Plain(left), "denoise": Plain(denoise)}, tuple(notes)


ROLES = {"sampler": sampler, "text sampler": text_sampler}
