"""A1111's and Forge's ``parameters`` text: prompt, ``Negative prompt:``, and a last line of ``Key: value`` pairs.

A value with a comma, colon or line break in it stands in JSON's quotes. "Hires fix" is a second stage of ours.
"""

from __future__ import annotations

import json
import re
from typing import Any

from zimage_app.domain.request import GenerationRequest, Stage, knob_of
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import Draft, Imported, of_stage, shown, unknown_name
from zimage_app.service.imports.names import resize_method, sampler_and_scheduler, scheduler

_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'(\w[\w \-/()+.]{0,60}?)\s{0,4}:\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_STEPS = re.compile(r"\bSteps:\s*\d")
_LONGEST_LINE = 100_000
"""Letters of the last line. What is said in it of ours is at most a prompt, escaped."""
_SIZE = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})")
_IGNORED = re.compile(
    r"^(version|model hash|vae hash|lora hashes|ti hashes|hashes|rng|app|backend|pipeline|parser|user|operations"
    r"|hires module \d+|module \d+|batch size|batch pos|image cfg scale|diffusion in low bits|stages)$",
    re.IGNORECASE,
)
"""What decides nothing that this app could set, or what every picture has."""
_READ = re.compile(
    r"steps|sampler|schedule type|cfg scale|seed|size|model|denoising strength|shift"
    r"|hires (upscale|steps|upscaler|resize|resize-1|resize-2|cfg scale|sampler|schedule type)"
)


def is_infotext(text: str) -> bool:
    """Whether a text is of this kind."""
    return _STEPS.search(text.rstrip().rpartition("\n")[2]) is not None


def read_infotext(text: str) -> Imported:
    """Raises ImportedFileError where nothing of it can be used."""
    prompt, negative, facts = _parts(text)
    ours = facts.get("version", "").startswith("Z-Image Progressive Studio")
    draft = Draft(Text("A1111/Forge", "A1111/Forge"), prompt, negative, model=facts.get("model"))
    draft.seed = _whole(facts.get("seed"))
    draft.stages.append(_first_stage(draft, facts))
    hires = _hires_stage(draft, facts)
    if hires:
        draft.stages.append(hires)
    elif "denoising strength" in facts and not ours:
        draft.leave(
            knob_of(Stage, "denoise").title,
            Text(
                f"{shown(facts['denoising strength'])} was for a start picture, which the file doesn't hold",
                f"{shown(facts['denoising strength'])} 针对起始图片，而文件中没有那张图片",
            ),
        )
    if ours and "stages" in facts:
        draft.leave(
            knob_of(GenerationRequest, "stages").title,
            Text(
                f"{shown(facts['stages'])}: this text holds the last stage only; the original PNG holds them all",
                f"{shown(facts['stages'])}：这段文字只含最后一个阶段；原始 PNG 中有全部阶段",
            ),
        )
    for key, value in facts.items():
        if _READ.fullmatch(key) is None and not _IGNORED.match(key):
            draft.leave(_named(key), Text(f"{shown(value)} has no place here", f"{shown(value)} 在这里没有对应项"))
    return draft.settled()


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt, and the facts by their key in small letters."""
    *lines, last = text.strip().split("\n")
    prompt, _, negative = "\n".join(lines).partition(_NEGATIVE) if lines else ("", "", "")
    if last.startswith(_NEGATIVE):  # written without a line break in between
        negative, last = last[len(_NEGATIVE) :], last[last.find("Steps:") :]
        negative = negative[: negative.find("Steps:")]
    facts: dict[str, str] = {}
    for match in _PAIR.finditer(last[:_LONGEST_LINE]):
        facts.setdefault(match[1].lower(), _unquoted(match[2].strip()))
    return prompt.strip(), negative.strip(), facts


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _first_stage(draft: Draft, facts: dict[str, str]) -> dict[str, Any]:
    stage: dict[str, Any] = {}
    size = _SIZE.fullmatch(facts.get("size", ""))
    if size:
        stage |= {"width": int(size[1]), "height": int(size[2])}
    for key, field in (("steps", "steps"), ("cfg scale", "cfg"), ("shift", "shift")):
        if key in facts:
            stage[field] = _number(facts[key])
    stage |= sampler_fields(draft, 0, facts.get("sampler"), facts.get("schedule type"))
    return stage


def sampler_fields(draft: Draft, number: int, sampler: str | None, schedule: str | None) -> dict[str, Any]:
    """Sampler and scheduler of a stage, from other programs' names; tells what was translated or is unknown."""
    stage: dict[str, Any] = {}
    found = sampler_and_scheduler(sampler) if sampler else None
    if found:
        stage["sampler"] = found[0]
        if found[1]:
            stage["scheduler"] = found[1]
        if sampler != found[0]:
            draft.turn(of_stage(number, knob_of(Stage, "sampler").title), sampler, " + ".join(filter(None, found)))
    elif sampler:
        unknown_name(draft, number, "sampler", sampler)
    if not schedule:
        return stage
    ours = scheduler(schedule)
    title = of_stage(number, knob_of(Stage, "scheduler").title)
    if ours:
        stage["scheduler"] = ours
        if ours != schedule:
            draft.turn(title, schedule, ours)
    elif schedule.lower() == "automatic":
        stage.setdefault("scheduler", Stage().scheduler)
        draft.turn(title, schedule, stage["scheduler"])
    else:
        unknown_name(draft, number, "scheduler", schedule)
    return stage


def _hires_stage(draft: Draft, facts: dict[str, str]) -> dict[str, Any] | None:
    """Hires fix as a second stage; None where there was none."""
    first = draft.stages[0]
    size = _hires_size(first, facts)
    if size is None:
        return None
    denoise = _number(facts.get("denoising strength", "0.75"))
    steps = _number(facts.get("hires steps", "0")) or first.get("steps")
    stage: dict[str, Any] = {**first, "width": size[0], "height": size[1], "denoise": denoise}
    if isinstance(steps, int | float) and isinstance(denoise, int | float) and 0 < denoise <= 1 and steps < 10_000:
        # Of ``steps`` it runs the last part alone, and one step more (A1111's setup_img2img_steps).
        stage["steps"] = min(int(min(denoise, 0.999) * steps) + 1, int(steps))
        if stage["steps"] != steps:
            draft.turn(
                of_stage(1, knob_of(Stage, "steps").title),
                f"Hires {steps:g}, denoise {denoise:g}",
                stage["steps"],
            )
    if "hires cfg scale" in facts:
        stage["cfg"] = _number(facts["hires cfg scale"])
    own_sampler = _unless_same(facts.get("hires sampler"))
    own_schedule = _unless_same(facts.get("hires schedule type"))
    stage |= sampler_fields(draft, 1, own_sampler, own_schedule)
    upscaler = facts.get("hires upscaler", "Latent")
    method = resize_method(upscaler) if upscaler.lower().startswith("latent") else None
    stage["upscale"] = method or "nearest-exact"
    draft.turn(of_stage(1, knob_of(Stage, "upscale").title), upscaler, stage["upscale"])
    return stage


def _unless_same(name: str | None) -> str | None:
    return None if name is None or name.lower().startswith("use same") else name


def _hires_size(first: dict[str, Any], facts: dict[str, str]) -> tuple[int, int] | None:
    resize = _SIZE.fullmatch(facts.get("hires resize", ""))
    if resize:
        return int(resize[1]), int(resize[2])
    sides = [_number(facts.get(f"hires resize-{side}", "0")) for side in (1, 2)]
    if all(isinstance(side, int) and side > 0 for side in sides):
        return sides[0], sides[1]
    scale = _number(facts.get("hires upscale", ""))
    if isinstance(scale, int | float) and 1 <= scale <= 16 and {"width", "height"} <= set(first):
        return int(first["width"] * scale), int(first["height"] * scale)
    return None


def _whole(text: str | None) -> object:
    return None if text is None else _number(text)


def _number(text: str) -> Any:
    """A number where the text is one; else the text, for the request's check to judge."""
    for read in (int, float):
        try:
            return read(text.strip()[:40])
        except ValueError:
            continue
    return text


def _named(key: str) -> Text:
    return Text(shown(key.capitalize()), shown(key.capitalize()))
