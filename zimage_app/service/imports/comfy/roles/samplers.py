"""Roles of sampler nodes: each adds one pass to its latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.at import At
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
    Picture,
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


def run(at: At, latent: Picture, fields: Mapping[str, Value], notes: tuple[Note, ...] = ()) -> Picture:
    """Return the latent after this sampler's pass; guider, sampler, sigmas and noise are inputs of these names."""
    guider = at.flow("guider", Guider)
    sampler, sigmas, noise = at.flow("sampler", Sampler), at.flow("sigmas", Sigmas), at.flow("noise", Noise)
    fields = {**_of_parts(guider, sampler, sigmas, noise), **fields}
    if (noise and noise.off) or at.known("add_noise") in ("disable", False):
        notes = (*notes, at.note(_NO_NOISE))
    reason = _BETWEEN if latent.passes else _BEFORE
    between = [note_of(name, reason) for name in latent.changes] if latent.passes or latent.start else []
    if sigmas and _discards_penultimate(fields.get("sampler")):
        notes = (*notes, at.note(_ALL_SIGMAS))
    notes = merged(notes, latent.notes, between, *(part.notes for part in (guider, sampler, sigmas, noise) if part))
    own, told = nag(at)
    model, positive = (guider.model, guider.positive) if guider else (at.model(), at.conditioning("positive"))
    guidance = {**model.guidance, **positive.guidance, **(guider.guidance if guider else {}), **own}
    done = Pass(
        at.name,
        model,
        positive,
        guider.negative if guider else negative_of(at, guidance, fields.get("cfg")),
        fields,
        sigmas.model if sigmas else None,
        latent.size,
        latent.size_reason,
        latent.method,
        latent.decoded_by if latent.method else "",
        merged(notes, told),
        guidance,
    )
    passes = (*latent.passes, done)[:_MAX_PASSES]
    return Picture(size=latent.size, size_reason=latent.size_reason, passes=passes, start=latent.start)


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


def sampler(at: At) -> Mapping[str, Value]:
    """Role of KSampler and nodes with its fields, also with separate guider, sampler and sigmas, or with a pipe."""
    pipe = at.flow("pipe", Bundle) if at.option("pipe") else None
    at = at.opened(pipe) if pipe else at
    latent = at.flow("latent_image", Picture) or Picture()
    fields: dict[str, Value] = {}
    for ours, theirs in FIELDS.items():
        value = at.plain(*theirs) if theirs else None
        if value is not None:
            fields[ours] = value
    notes = at.unusual()
    if at.option("part"):
        more, told = _part(at)
        fields |= more
        notes = (*notes, *told)
    if at.option("options"):
        fields |= {name: value for name in OPTIONS if (value := at.plain(name)) is not None}
    if at.option("script") in at.node.links:
        notes = (*notes, at.note(_SCRIPT))
    if at.option("own_way"):
        notes = (*notes, at.note(_OWN_WAY))
    if at.option("feature"):
        notes = (*notes, feature_note(at, at.option("feature").split()))
    if at.option("sampler_prefix") and (name := without_folder(fields.get("sampler"))) is not None:
        fields["sampler"] = name
    picture = run(at, latent, fields, notes)
    image = replace(picture, decoded_by=at.name)
    made: dict[str, Value] = {"latent": picture, "image": image, "denoised": picture}
    if pipe:
        made["pipe"] = Bundle({**pipe.parts, "latent": picture, "image": image})
        made |= {name: value for name, value in pipe.parts.items() if name not in made}
    return made


def text_sampler(at: At) -> Mapping[str, Value]:
    """Role of samplers that take texts and a size and return pixels."""
    names = ("seed", "steps", "cfg", "shift")
    fields: dict[str, Value] = {name: value for name in names if (value := at.plain(name)) is not None}
    cfg = at.known("cfg")
    if at.option("diffusers") and isinstance(cfg, int | float):  # diffusers' guidance scale is CFG minus 1
        fields["cfg"] = Plain(float(cfg + 1 if cfg > 1 else 1))
    size = sides(at)
    latent = Picture(size=size if isinstance(size, tuple) else None)
    if isinstance(size, Missing):
        latent = replace(latent, size_reason=size.reason)
    prompts = {at.kind.takes.get(name, name): Conditioning(text_of(at, name)) for name in ("positive", "negative")}
    told = (feature_note(at, at.option("feature").split()),) if at.option("feature") else ()
    picture = run(At(at.node, at.kind, {**at.inputs, **prompts}), latent, fields, told)
    return {"image": replace(picture, decoded_by=at.name)}


def _part(at: At) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """Convert KSamplerAdvanced's range of steps: a later start becomes a denoise below 1."""
    steps, start, end = (at.known(name) for name in ("steps", "start_at_step", "end_at_step"))
    notes: list[Note] = []
    unknown = next((v for name in ("start_at_step", "end_at_step") if isinstance(v := at.plain(name), Missing)), None)
    if unknown:
        notes.append(
            at.note(
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
            at.note(
                Text(
                    f"it stops after {end} of {steps} steps; a stage here always runs to the end",
                    f"它在 {steps} 步中的第 {end} 步停止；这里的阶段总会跑完",
                )
            )
        )
    if not isinstance(start, int) or not 0 < start < steps:
        return {}, tuple(notes)
    left, denoise = rest_of_steps(steps, start)
    said = f"start_at_step {start}/{steps} → {left} × denoise {denoise:g}"
    notes.append(at.note(Text(said, said), translated=True))
    return {"steps": Plain(left), "denoise": Plain(denoise)}, tuple(notes)


ROLES = {"sampler": sampler, "text sampler": text_sampler}
