"""The canvas's data as JSON-ready values: a job, a picture's facts. Independent of Gradio components.

All values are texts and numbers; the script inserts texts with ``textContent``, so they are never parsed as HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime

from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Language, shortened
from zimage_app.service.jobs.view import JobView, StageView
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.examples import examples_data
from zimage_app.ui.fields.layout import stage_word
from zimage_app.ui.fields.values import titled
from zimage_app.ui.http import Data
from zimage_app.ui.words.i18n import say

LABEL_LENGTH = 160
"""Maximum characters of a prompt in a thumbnail's label."""


def idle_data(language: Language) -> Data:
    """Return the canvas before a visitor's first run, with the examples for visitors who have no picture yet."""
    return {"id": "", "state": "idle", "stages": [], "examples": examples_data(language)}


def job_data(view: JobView, language: Language, *, paused: bool = False) -> Data:
    """Return a snapshot of a job; ``paused``: whether waiting jobs don't begin until the queue is resumed."""
    count = len(view.stages)
    return {
        "id": view.id,
        "state": view.state,
        "stages": [_tile(stage, place, count, language) for place, stage in enumerate(view.stages)],
        "current": view.current,
        "progress": view.progress,
        "ahead": view.ahead,
        "paused": paused,
        "starts_in": view.starts_in,
        "elapsed": view.elapsed,
        "remaining": view.remaining,
        "loading": view.loading.to(language) if view.loading else "",
        "error": titled(view.error).to(language) if view.error else "",
        "warnings": [text.to(language) for text in view.warnings],
        "picture": view.picture.record.id if view.picture else "",
        "seed": "" if view.seed is None else str(view.seed),
    }


def lost_data(language: Language) -> Data:
    """Return the canvas for a job that the app no longer knows."""
    return {"id": "", "state": "failed", "stages": [], "error": say("gone", language), "lost": True}


def picture_data(picture: SavedPicture, kept: Iterable[int], language: Language) -> Data:
    """Return what canvas and viewer show of a saved picture; ``kept`` are the stages (from 1) with saved pictures."""
    record = picture.record
    kept = set(kept)
    count = len(record.stages)
    settings = zip(record.stages, _stages_of(record), strict=True)
    return facts_data(record, language) | {
        "label": shortened(record.request.prompt, LABEL_LENGTH),
        "time": shown_time(record.created),
        "parameters": record.parameters_text,
        "stages": [
            {
                "number": done.number + 1,
                "name": say(stage_word(place, count), language),
                "width": stage.width,
                "height": stage.height,
                "seconds": done.seconds,
                "note": say("from_memory", language) if done.from_memory else "",
                "kept": done.number + 1 in kept,
            }
            for place, (done, stage) in enumerate(settings)
        ],
    }


def shown_time(moment: datetime) -> str:
    """Format a time as the page shows it, in the server's time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def facts_data(record: ImageRecord, language: Language) -> Data:
    """Return the rows of a saved picture's facts panel, with its id, prompt, seed and size."""
    stages = _stages_of(record)
    rows = [
        *_request_rows(record, language),
        (say("model", language), record.model),
        (say("fact_size", language), " → ".join(f"{stage.width}×{stage.height}" for stage in stages)),
        *(_stage_row(name, stages, language) for name in ("steps", "cfg", "denoise", "shift", "sampler", "scheduler")),
        *_guidance_rows(stages, language),
        (say("fact_time", language), _times(record, language)),
        (say("fact_created", language), shown_time(record.created)),
    ]
    skipped = [stage.skipped_calls for stage in record.stages]
    if any(skipped):
        knob = knob_of(Stage, "easycache")
        skips = " + ".join(str(calls) for calls in skipped)
        rows.insert(-2, (knob.title.to(language), f"{say('fact_skipped', language)} {skips}"))
    return {
        "id": record.id,
        "prompt": record.request.prompt,
        "seed": str(record.seeds[0]),
        "width": record.width,
        "height": record.height,
        "rows": [{"title": title, "text": text} for title, text in rows],
    }


def _request_rows(record: ImageRecord, language: Language) -> list[tuple[str, str]]:
    request = record.request

    def title(field: str) -> str:
        return knob_of(GenerationRequest, field).title.to(language)

    on = [use for use in request.loras if use.strength]
    optional = (
        ("negative", request.negative.strip()),
        ("triggers", ", ".join([*(word for use in on for word in use.triggers), *request.triggers])),
        ("loras", "\n".join(lora_text(use) + (f" ({use.sha256[:10]})" if use.sha256 else "") for use in on)),
        ("start", _start_text(request.start, language) if request.start else ""),
    )
    return [
        (title("prompt"), request.prompt),
        *([(title("template"), typed)] if (typed := _typed(request)) else []),
        *((title(field), text) for field, text in optional if text),
        (title("seed"), _seed_text(record, language)),
        *([(title("variation_strength"), _variation_text(request))] if request.variation_strength else []),
    ]


def _seed_text(record: ImageRecord, language: Language) -> str:
    seeds = " / ".join(map(str, record.seeds))
    return seeds if record.request.seed in record.seeds else say("fact_fixed", language, seeds=seeds)


def _variation_text(request: GenerationRequest) -> str:
    return f"{request.variation_strength:g} → {request.variation_seed}"


def _start_text(start: StartPicture, language: Language) -> str:
    """Describe the start picture: hash, stage, upscaler, mask, margins, and how unmasked parts were kept."""

    def title(field: str) -> str:
        return knob_of(StartPicture, field).title.to(language)

    lines = [f"{start.picture[:10]} @{start.stage}"]
    if start.upscaler is not None:
        digest = f" ({start.upscaler.sha256[:10]})" if start.upscaler.sha256 else ""
        lines.append(f"{title('upscaler')}: {start.upscaler.name}{digest}")
    elif not start.keeps:
        lines.append(say("start_resized", language, by="Lanczos"))
    if start.mask:
        lines.append(f"{title('mask')}: {start.mask[:10]}")
    if any(start.extend):
        lines.append(f"{title('extend')}: {'/'.join(map(str, start.extend))}")
    if start.keeps:
        lines.append(say("mask_pasted" if start.paste else "mask_decoded", language))
    return "\n".join(lines)


def _typed(request: GenerationRequest) -> str:
    """Return the texts as typed, where choices or wildcards in them were drawn."""
    typed = request.typed
    pairs = [(typed.prompt, request.prompt), (typed.negative, request.negative)]
    pairs += [(", ".join(typed.triggers), ", ".join(request.triggers))]
    return "\n".join(before for before, after in pairs if before != after)


def lora_text(use: LoraUse) -> str:
    """Return a LoRA's name, strength and stages as a short text."""
    stages = "" if use.stages is None else f" @{','.join(map(str, use.stages))}"
    return f"{use.name} {use.strength:g}{stages}"


def _stages_of(record: ImageRecord) -> list[Stage]:
    """Return the settings of the stages that ran."""
    settings = record.request.stages or ()
    return [settings[stage.number] for stage in record.stages]


def _stage_row(field: str, stages: list[Stage], language: Language) -> tuple[str, str]:
    texts = [_value(getattr(stage, field)) for stage in stages]
    shown = texts[:1] if len(set(texts)) == 1 else texts
    return knob_of(Stage, field).title.to(language), " / ".join(shown)


def _guidance_rows(stages: list[Stage], language: Language) -> Iterator[tuple[str, str]]:
    """Yield a row for each settings group that is on in a stage, with its first three values; not for EasyCache.

    EasyCache has a row of its own with the evaluations that it skipped.
    """
    for group, model in STAGE_GROUPS.items():
        given = [getattr(stage, group) for stage in stages]
        if group == "easycache" or not any(given):
            continue
        names = list(model.model_fields)[:3]
        texts = ["/".join(_value(getattr(each, name)) for name in names) if each else "—" for each in given]
        shown = texts[:1] if len(set(texts)) == 1 else texts
        yield knob_of(Stage, group).title.to(language), " · ".join(shown)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _times(record: ImageRecord, language: Language) -> str:
    known = say("from_memory", language)
    parts = " + ".join(known if stage.from_memory else f"{stage.seconds:.1f}" for stage in record.stages)
    took = say("took", language, seconds=f"{record.seconds:.1f}")
    if len(record.stages) == 1:
        return took
    return f"{took} ({parts})" if language == "en" else f"{took}（{parts}）"


def _tile(stage: StageView, place: int, count: int, language: Language) -> Data:
    return {
        "number": stage.number + 1,
        "name": say(stage_word(place, count), language),
        "width": stage.width,
        "height": stage.height,
        "step": stage.step,
        "steps": stage.steps,
        "seconds": stage.seconds,
        "note": say("from_memory", language) if stage.from_memory else "",
        "preview": _data_uri(stage.preview),
    }


def _data_uri(jpeg: bytes | None) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode() if jpeg else ""
