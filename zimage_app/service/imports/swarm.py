"""Reads SwarmUI's settings, which are flat JSON; its refiner becomes a second stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import MAX_SEED
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.roles.schedules import denoise_of_rest
from zimage_app.service.imports.draft import Draft, Imported, shown, stage_title
from zimage_app.service.imports.fields import between, list_of, number, text_of, words
from zimage_app.service.imports.names import resize_method
from zimage_app.service.imports.programs import no_place, report_other_fields
from zimage_app.service.imports.webui import sampler_fields

_SECTION = re.compile(r"<(?:segment|object|region|refiner|video|extend)\b[^<>]*>", re.IGNORECASE)
_READ = words(
    "prompt negativeprompt model seed steps cfgscale width height sampler scheduler sigmashift loras loraweights"
    " refinermethod refinercontrolpercentage refinercontrol refinerupscale refinerupscalemethod refinersteps"
    " refinercfgscale"
)
_IGNORED = words(
    "images aspectratio sidelength swarm_version date generation_time batchsize automaticvae nopreviews"
    " imageformat donotsave wildcardseed used_wildcards original_prompt original_negativeprompt personalnote"
    " loratencweights vae colordepth unused_parameters"
)


def read_swarm(data: Mapping[str, Any]) -> Imported:
    """Read ``sui_image_params``; raises ImportedFileError if nothing can be used."""
    draft = Draft(Text("SwarmUI", "SwarmUI"), data.get("prompt"), data.get("negativeprompt"), seed=data.get("seed"))
    _section(draft)
    draft.model = data.get("model")
    names = {"width": "width", "height": "height", "steps": "steps", "cfgscale": "cfg", "sigmashift": "shift"}
    stage = {ours: number(data[theirs]) for theirs, ours in names.items() if theirs in data}
    stage |= sampler_fields(draft, 0, text_of(data.get("sampler")), text_of(data.get("scheduler")))
    draft.stages.append(stage)
    refined = _refined(draft, data)
    if refined:
        draft.stages.append(refined)
    weights = list_of(data.get("loraweights"))
    for place, name in enumerate(list_of(data.get("loras"))):
        draft.loras.append({"name": name, "strength": number(weights[place]) if place < len(weights) else 1.0})
    report_other_fields(draft, data, _READ | _IGNORED)
    return draft.settled()


def _section(draft: Draft) -> None:
    """Cut the prompt before its first section that concerns a part of the picture or another pass."""
    text = draft.prompt
    section = _SECTION.search(text) if isinstance(text, str) else None
    if isinstance(text, str) and section:
        draft.prompt = text[: section.start()].strip()
        draft.report_left_out(knob_of(GenerationRequest, "prompt").title, *no_place(text[section.start() :]))


def _refined(draft: Draft, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the refiner's pass over the enlarged latent as a second stage, or None."""
    part = number(data.get("refinercontrolpercentage", data.get("refinercontrol")))
    scale = number(data.get("refinerupscale", 1))
    if not between(part, 0.001, 1) or not between(scale, 0.25, 8):
        return None
    if data.get("refinermethod", "PostApply") != "PostApply":
        draft.report_left_out(
            Text("Refiner", "Refiner"),
            f"{shown(data['refinermethod'])}: only a pass after the first one is a stage here",
            f"{shown(data['refinermethod'])}：这里只支持在第一遍之后再画一遍",
        )
        return None
    first = draft.stages[0]
    stage = {**first, "denoise": part}
    for side in ("width", "height"):
        if between(first.get(side), 1, 1e5):
            stage[side] = int(first[side] * scale)
    steps = number(data.get("refinersteps", first.get("steps")))
    if between(steps, 1, 10_000):
        # SwarmUI's refiner skips the first (1 - part) of its steps, and draws the noise of the next seed.
        skipped = min(round(int(steps) * (1 - part)), int(steps) - 1)
        stage["steps"] = int(steps) - skipped
        stage["denoise"] = denoise_of_rest(int(steps), stage["steps"])
        draft.report_translated(stage_title(1, "steps"), f"{steps:g} × {part:g}", stage["steps"])
    seed = number(data.get("seed"))
    if between(seed, 0, MAX_SEED - 1):
        stage["seed"] = int(seed) + 1
    if "refinercfgscale" in data:
        stage["cfg"] = number(data["refinercfgscale"])
    method = str(data.get("refinerupscalemethod", "latent-nearest-exact"))
    ours = resize_method(method.removeprefix("latent-")) if method.startswith("latent-") else None
    stage["upscale"] = ours or "nearest-exact"
    if scale != 1:
        draft.report_translated(stage_title(1, "upscale"), method, stage["upscale"])
    return stage
