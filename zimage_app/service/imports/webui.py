"""Reads the ``parameters`` text of A1111, Forge, SD.Next, stable-diffusion.cpp, Civitai and this app.

"Hires fix" becomes a second stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plain_json import read_json
from zimage_app.domain.record import parameters_text
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import (
    Draft,
    Imported,
    report_start_strength,
    shown,
    stage_title,
    unknown_name,
)
from zimage_app.service.imports.edited import edited
from zimage_app.service.imports.fields import between, list_of, number, text_of
from zimage_app.service.imports.infotext import Infotext, parsed
from zimage_app.service.imports.names import is_ours, resize_method, sampler_and_scheduler, scheduler, usual_part
from zimage_app.service.imports.ours import THIS_APP, read_request

_SIZE = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*")
_OUR_VERSION = "Z-Image Progressive Studio"
_SDCPP = "stable-diffusion.cpp"
OUR_KEY = "studio"
"""Key under which this app's own text holds the whole request."""
_IGNORED = re.compile(
    r"^(version|model hash|vae hash|lora hashes|ti hashes|hashes|rng|app|backend|pipeline|parser|user|operations"
    r"|hires module \d+|module \d+|batch size|batch pos|image cfg scale|diffusion in low bits|stages|created date"
    r"|civitai metadata|hires force|hires mode|refine|guidance|latent sampler|index|sdcpp|studio)$",
    re.IGNORECASE,
)
"""Keys that affect nothing this app could set, or that every picture has."""
_ANGLES = re.compile(r"<[^<>]*>")
_COMPARED = ("steps", "sampler", "schedule type", "cfg scale", "seed", "size", "denoising strength", "shift")
"""Keys of this app's own text that people edit by hand."""
_READ = re.compile(
    r"steps|eta|sampler|schedule type|scheduler|cfg scale|seed|size|model|unet|denoising strength|shift|sampler shift"
    r"|civitai resources|vae|te|hires (upscale|steps|upscaler|resize|resize-1|resize-2|cfg scale|sampler|schedule type"
    r"|scale|size|strength)"
)


def read_infotext(text: str) -> Imported:
    """Read an infotext's settings; raises ImportedFileError if none can be used."""
    info = parsed(text)
    facts = info.facts
    saved = _own_request(own) if isinstance(own := facts.get(OUR_KEY), str) else None
    if saved is not None:
        return _with_edits(info, saved)
    ours = str(facts.get("version", "")).startswith(_OUR_VERSION)
    draft = Draft(_source(facts), info.prompt, info.negative, model=_model(facts), ours=ours)
    draft.seed = number(facts.get("seed"))
    draft.stages.append(_shown_stage(draft, info))
    _hires(draft, facts)
    if ours:
        _our_stages(draft, facts)
    _sdcpp(draft, facts.get("sdcpp"))
    _civitai(draft, facts.get("civitai resources"))
    _parts(draft, facts)
    for key, value in facts.items():
        if _READ.fullmatch(key) is None and not _IGNORED.match(key):
            draft.report_left_out(
                _named(key), f"{shown(value)} has no equivalent in this app", f"{shown(value)} 在本程序中没有对应的设置"
            )
    return draft.settled()


def _own_request(text: str) -> Imported | None:
    try:
        data = read_json(text)
        return read_request(data) if isinstance(data, dict) else None
    except (ValueError, RecursionError, RequestError):
        return None


def _with_edits(info: Infotext, saved: Imported) -> Imported:
    """Return the settings inside this app's own text, with those that were changed in its readable part.

    A text may be that of any stage, since earlier stages' pictures have one too.
    """
    request = saved.request()
    running = request.running
    if request.seed == "random" or not running:
        return saved
    ran = [number for number, _ in running]
    texts = [
        parsed(parameters_text(request, ran[:count], (stage.width, stage.height), "", ""))
        for count, (_, stage) in enumerate(running, 1)
    ]
    if any(_says(info, each) for each in texts):
        return saved
    last = min(str(info.facts.get("stages", "")).count(">"), len(running) - 1)
    before, after = (_readable(each, *running[last]) for each in (texts[last], info))
    return edited(saved, before, after)


def _readable(info: Infotext, place: int, saved: Stage) -> Imported:
    """Return the settings in the readable part of this app's own text, which shows stage ``place`` only."""
    draft = Draft(THIS_APP, info.prompt, info.negative, number(info.facts.get("seed")), ours=True, stage_defaults=saved)
    draft.stages = [{} for _ in range(place)]
    stage = _shown_stage(draft, info)
    if "denoising strength" in info.facts:
        stage["denoise"] = number(info.facts["denoising strength"])
    draft.stages.append(stage)
    return draft.settled()


def _says(info: Infotext, saved: Infotext) -> bool:
    texts = ((info.prompt, saved.prompt), (info.negative, saved.negative))
    return all(_is_copy(found, wanted) for found, wanted in texts) and all(
        str(info.facts.get(key, wanted)) == str(wanted) for key, wanted in saved.facts.items() if key in _COMPARED
    )


def _is_copy(found: str, saved: str) -> bool:
    """Whether a text is the saved one: chat programs change line breaks and spaces, websites drop what is in ``<>``."""
    return found.split() in (saved.split(), _ANGLES.sub(" ", saved).split())


def _source(facts: Mapping[str, Any]) -> Text:
    version, app = str(facts.get("version", "")), str(facts.get("app", ""))
    if version.startswith(_OUR_VERSION):
        return THIS_APP
    if "civitai resources" in facts:
        return Text("Civitai", "Civitai")
    for name in ("SD.Next", _SDCPP):
        if name.lower() in f"{app} {version}".lower():
            return Text(name, name)
    return Text("A1111/Forge", "A1111/Forge")


def _model(facts: Mapping[str, Any]) -> str | None:
    return text_of(facts.get("model")) or text_of(facts.get("unet"))


def _shown_stage(draft: Draft, info: Infotext) -> dict[str, Any]:
    """Return the settings of the stage that comes next in the draft."""
    facts = info.facts
    place = len(draft.stages)
    stage: dict[str, Any] = {}
    size = _SIZE.fullmatch(str(facts.get("size", "")))
    if size:
        stage |= {"width": int(size[1]), "height": int(size[2])}
    names = (("steps", "steps"), ("cfg scale", "cfg"), ("shift", "shift"), ("sampler shift", "shift"), ("eta", "eta"))
    stage |= {field: number(facts[key]) for key, field in names if key in facts}
    if "guidance scale" in facts and "cfg" not in stage:
        stage["cfg"] = number(facts["guidance scale"])
    diffusers_cfg(draft, stage, pipeline=str(facts.get("pipeline", "")))
    schedule = text_of(facts.get("schedule type")) or text_of(facts.get("scheduler"))
    sampler = text_of(facts.get("sampler"))
    if draft.ours and is_ours(schedule):
        return stage | {"scheduler": schedule} | sampler_fields(draft, place, sampler, None)
    if schedule and schedule.lower() == "flowmatcheulerdiscretescheduler" and draft.source.en == "SD.Next":
        # In SD.Next this is diffusers' scheduler, whose sigmas equal ComfyUI's "simple" with the same shift.
        draft.report_translated(stage_title(place, "scheduler"), schedule, "simple")
        sampler, schedule = sampler or "Euler", "simple"
    return stage | sampler_fields(draft, place, sampler, schedule)


def diffusers_cfg(draft: Draft, stage: dict[str, Any], *, pipeline: str, above: float = 0) -> None:
    """Convert diffusers' guidance scale to CFG, which is 1 more; guidance not ``above`` a limit is CFG 1."""
    cfg = stage.get("cfg")
    if "zimage" not in pipeline.lower() or not isinstance(cfg, int | float):
        return
    ours = cfg + 1 if cfg > above else 1.0
    stage["cfg"] = ours
    if ours != cfg:
        draft.report_translated(stage_title(0, "cfg"), f"guidance {cfg:g} (diffusers)", ours)


def sampler_fields(draft: Draft, place: int, sampler: str | None, schedule: str | None) -> dict[str, Any]:
    """Return a stage's sampler and scheduler from other programs' names; reports translated and unknown names."""
    stage: dict[str, Any] = {}
    found = sampler_and_scheduler(sampler) if sampler else None
    if found:
        stage["sampler"] = found[0]
        if found[1]:
            stage["scheduler"] = found[1]
        if sampler != found[0]:
            draft.report_translated(stage_title(place, "sampler"), sampler, " + ".join(filter(None, found)))
    elif sampler:
        unknown_name(draft, place, "sampler", sampler)
    if not schedule:
        return stage
    ours = scheduler(schedule)
    title = stage_title(place, "scheduler")
    if ours:
        stage["scheduler"] = ours
        if ours != schedule:
            draft.report_translated(title, schedule, ours)
    elif schedule.lower() == "automatic":
        stage.setdefault("scheduler", Stage().scheduler)
        draft.report_translated(title, schedule, stage["scheduler"])
    else:
        unknown_name(draft, place, "scheduler", schedule)
    return stage


# A second pass.


def _hires(draft: Draft, facts: Mapping[str, Any]) -> None:
    """Add hires fix as a second stage; without it, report a denoising strength, which was for a start picture."""
    first = draft.stages[0]
    size = _hires_size(first, facts)
    if size is None:
        if "denoising strength" in facts and not draft.ours:
            report_start_strength(draft, facts["denoising strength"])
        return
    denoise = number(facts.get("hires strength", facts.get("denoising strength", "0.75")))
    stage: dict[str, Any] = {**first, "width": size[0], "height": size[1], "denoise": denoise}
    _hires_steps(draft, stage, number(facts.get("hires steps", "0")) or first.get("steps"))
    if "hires cfg scale" in facts:
        stage["cfg"] = number(facts["hires cfg scale"])
    own = (_unless_same(facts.get(key)) for key in ("hires sampler", "hires schedule type"))
    stage |= sampler_fields(draft, 1, *own)
    _hires_method(draft, stage, _upscaler(facts))
    draft.stages.append(stage)


def _hires_steps(draft: Draft, stage: dict[str, Any], steps: Any) -> None:
    denoise = stage["denoise"]
    if not between(steps, 1, 9999) or not between(denoise, 1e-6, 1):
        return
    stage["steps"] = int(steps)  # A1111 takes them out of a list of ``steps / denoise`` (setup_img2img_steps), as here
    if draft.source.en == _SDCPP:  # runs only the last part of ``steps``, plus one step
        stage["steps"] = min(int(min(denoise, 0.999) * steps) + 1, int(steps))
    if stage["steps"] != steps:
        title = stage_title(1, "steps")
        draft.report_translated(title, f"Hires {steps:g}, denoise {denoise:g}", stage["steps"])


def _upscaler(facts: Mapping[str, Any]) -> str:
    named = facts.get("hires upscaler")
    if named is None and not isinstance(number(facts.get("hires upscale", 1)), int | float):
        named = facts["hires upscale"]  # in stable-diffusion.cpp this is the upscaler's name
    return text_of(named) or "Latent"


def _hires_method(draft: Draft, stage: dict[str, Any], upscaler: str) -> None:
    latent = upscaler.lower().startswith("latent")
    stage["upscale"] = (resize_method(upscaler) if latent else None) or "nearest-exact"
    draft.report_translated(stage_title(1, "upscale"), upscaler, stage["upscale"])


def _unless_same(name: Any) -> str | None:
    return None if not isinstance(name, str) or name.lower().startswith("use same") else name


def _hires_size(first: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[int, int] | None:
    for key in ("hires resize", "hires size"):
        resize = _SIZE.fullmatch(str(facts.get(key, "")))
        if resize and int(resize[1]) and int(resize[2]):
            return int(resize[1]), int(resize[2])
    sides = [number(facts.get(f"hires resize-{side}", "0")) for side in (1, 2)]
    if all(isinstance(side, int) and side > 0 for side in sides):
        return sides[0], sides[1]
    scales = (number(facts.get(key, "")) for key in ("hires scale", "hires upscale"))
    scale = next((each for each in scales if between(each, 1, 16)), None)
    if scale is not None and {"width", "height"} <= set(first):
        return int(first["width"] * scale), int(first["height"] * scale)
    return None


# Additions of single programs.


def _our_stages(draft: Draft, facts: Mapping[str, Any]) -> None:
    """Handle texts of older versions of this app, which hold the last stage only."""
    stages = str(facts.get("stages", ""))
    if ">" not in stages and "denoising strength" in facts:
        draft.stages[0]["denoise"] = number(facts["denoising strength"])
    if ">" in stages:
        draft.report_left_out(
            knob_of(GenerationRequest, "stages").title,
            f"{shown(stages)}: this text holds the last stage only; the original PNG holds them all",
            f"{shown(stages)}：这段文字只含最后一个阶段；原始 PNG 中有全部阶段",
        )


def _sdcpp(draft: Draft, data: object) -> None:
    """Apply stable-diffusion.cpp's own JSON, which overrides the text: it has LoRAs and the original prompts."""
    if not isinstance(data, Mapping):
        return
    prompt = data.get("prompt")
    if isinstance(prompt, Mapping):
        draft.prompt, draft.negative = prompt.get("positive"), prompt.get("negative")
    models = data.get("models")
    if isinstance(models, Mapping):
        draft.model = text_of(models.get("diffusion_model")) or text_of(models.get("model")) or draft.model
    for use in list_of(data.get("loras")):
        if isinstance(use, Mapping):
            draft.loras.append({"name": use.get("name"), "strength": number(use.get("multiplier", 1.0))})


def _civitai(draft: Draft, data: object) -> None:
    """Read Civitai's resources, which name models and LoRAs by their titles on the site."""
    for each in list_of(data):
        if not isinstance(each, Mapping):
            continue
        name = " ".join(filter(None, (text_of(each.get("modelName")), text_of(each.get("modelVersionName")))))
        if each.get("type") in ("checkpoint", "model", "unet") and not draft.model:
            draft.model = name
        elif name:
            kind = text_of(each.get("type")) or "model"
            weight = f", {each['weight']}" if between(each.get("weight"), -100, 100) else ""
            draft.report_left_out(
                Text(f"Civitai {kind}", f"Civitai {kind}"),
                f"{shown(name)}{weight}: its file is not named here; add it yourself if it isn't in the list",
                f"{shown(name)}{weight}：这里没有写明文件；如列表里没有请自行添加",
            )


def _parts(draft: Draft, facts: Mapping[str, Any]) -> None:
    for key in ("vae", "te"):
        name = text_of(facts.get(key))
        if name and not usual_part(name):
            draft.report_left_out(
                _named(key), f"{shown(name)}: the model's own is used", f"{shown(name)}：使用模型自带的部件"
            )


def _named(key: str) -> Text:
    return Text(shown(key.capitalize()), shown(key.capitalize()))
