"""Hints on the page's current settings before a run: remarks, and each stage's size and time.

Independent of Gradio components.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_app.domain.errors import LoraError, RequestError, StudioError, after_title
from zimage_app.domain.many import MAX_COUNT
from zimage_app.domain.plan import make_plan
from zimage_app.domain.plan_summary import PlanNumbers, plan_numbers, seconds_words
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.text import Language, Remark, Text
from zimage_app.service.library.loras import LoraEntry
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import field_title, request_data
from zimage_app.ui.http import Data

FIELDS_WITH_NOTES = ("prompt", "negative", "loras", "start", "size")
"""Fields that have their own place for remarks."""


def hints(studio: Studio, order: Data, language: Language) -> Data:
    """Return ``notes``, the remarks by field, and ``stages``, size and time for the page's ``settings``.

    ``stages`` is None, and ``notes`` has at most a refused choice, while a field is half-typed.
    """
    values = order["settings"]
    blank = not str(values["prompt"] or "").strip()
    try:
        asked = parse_request(request_data(values | ({"prompt": "-"} if blank else {})))
        card = studio.card(str(values["model"]))
        plan = make_plan(
            asked,
            card,
            lora_name=studio.loras.name_of,
            wildcard=studio.wildcards.lines,
        )
    except LoraError as error:
        return {"notes": {"loras": [studio.redacted(error.text).to(language)]}, "stages": None}
    except RequestError as error:
        field = error.field.partition(".")[0]
        said = (
            {field: [studio.redacted(_refusal(error)).to(language)]}
            if error.field.startswith(("loras.", "start."))
            else {}
        )
        return {"notes": said, "stages": None}
    except StudioError:  # half-typed; the check on Generate names the field
        return {"notes": {}, "stages": None}
    by_tags = named_by_tags(asked, plan.request)
    width = studio.width(str(values["model"]))
    remarks = [text for use in by_tags for text in _remarks(studio.loras.find(use.name), width, plan.request)]
    unseen = card.vocabulary.remark("" if blank else plan.request.prompt) if card.vocabulary else None
    plan_summary = plan_numbers(plan, studio.run_times.of(str(values["model"])))
    return {
        "notes": notes_data(studio, filter(None, (unseen, *plan.warnings, *remarks)), language),
        "stages": summary_data(plan_summary, values.get("count"), language),
    }


def notes_data(studio: Studio, texts: Iterable[Text], language: Language) -> dict[str, list[str]]:
    """Group the texts by the field that shows them; texts without such a field get the empty name."""
    notes: dict[str, list[str]] = {}
    for text in texts:
        field = text.field if isinstance(text, Remark) and text.field in FIELDS_WITH_NOTES else ""
        notes.setdefault(field, []).append(studio.redacted(text).to(language))
    return notes


def named_by_tags(asked: GenerationRequest, settled: GenerationRequest) -> list[LoraUse]:
    """Return the LoRAs with a strength other than 0 that only the prompt names, ignoring their trigger words."""
    listed = [(use.name, use.strength, use.stages) for use in asked.loras]
    return [use for use in settled.loras if use.strength and (use.name, use.strength, use.stages) not in listed]


def summary_data(plan_summary: PlanNumbers, count: object, language: Language) -> Data:
    """Return the numbers of each running stage (by its number from 0), a summary of each, and one for all pictures."""
    lines = {
        str(stage.number): [[title.to(language), value.to(language)] for title, value in stage.lines]
        for stage in plan_summary.stages
    }
    summaries = {str(stage.number): stage.summary.to(language) for stage in plan_summary.stages}
    pictures = count if isinstance(count, int) and 1 <= count <= MAX_COUNT else 1
    return {
        "lines": lines,
        "summaries": summaries,
        "summary": plan_summary.summary(pictures).to(language),
        "total": seconds_words(plan_summary.seconds).to(language),
    }


def _refusal(error: RequestError) -> Text:
    """Return the error message for a field whose value was chosen, not typed."""
    return after_title(field_title(error.field.partition(".")[0]), error.reason)


def _remarks(entry: LoraEntry, width: int | None, request: GenerationRequest) -> Iterator[Text]:
    """Yield the warnings about a LoRA that only a tag in the prompt names; it has no row in the list to show them."""
    for text in filter(None, (*entry.remarks(width), entry.missing_triggers(request.full_prompt))):
        yield Remark(f"LoRA {entry.name}: {text.en}", f"LoRA {entry.name}：{text.zh}", "loras")
