"""What the settings as they stand come to, before anything is run. Knows no components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zimage_app.domain.errors import LoraError, RequestError, StudioError
from zimage_app.domain.meaning import PlanMeaning, meaning, seconds_words
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest, LoraUse, parse_request
from zimage_app.domain.text import Language, Text, language_named
from zimage_app.service.loras import LoraEntry
from zimage_app.service.studio import Studio
from zimage_app.ui.values import field_title, request_data

Data = dict[str, Any]


def hint_function(studio: Studio) -> Callable[[Data], Data]:
    """What the hints' script calls, with the page's ``settings`` by name and its ``language``."""

    def hints(page: Data) -> Data:
        """``hints``, sentences to show, and ``stages``, what they mean in numbers; none while a field is half-typed."""
        values = page["settings"]
        language = language_named(page["language"])
        blank = not str(values["prompt"] or "").strip()
        try:
            asked = parse_request(request_data(values | ({"prompt": "-"} if blank else {})))
            plan = make_plan(
                asked,
                studio.card(str(values["model"])),
                lora_name=studio.loras.name_of,
                wildcard=studio.wildcards.lines,
            )
        except LoraError as error:
            return {"hints": [error.to(language)], "stages": None}
        except RequestError as error:
            said = [_refusal(error, language)] if error.field.startswith(("loras.", "start.")) else []
            return {"hints": said, "stages": None}
        except StudioError:  # half-typed; the button's own check names the field
            return {"hints": [], "stages": None}
        by_tags = named_by_tags(asked, plan.request)
        width = studio.width(str(values["model"]))
        remarks = [text for use in by_tags for text in _remarks(studio.loras.find(use.name), width, plan.request)]
        means = meaning(plan, studio.pace.of(str(values["model"])))
        return {
            "hints": [text.to(language) for text in (*plan.warnings, *remarks)],
            "stages": meaning_data(means, language),
        }

    return hints


def named_by_tags(asked: GenerationRequest, settled: GenerationRequest) -> list[LoraUse]:
    """The LoRAs that are on and stand in the prompt, not in the list; drawn trigger words make no difference."""
    listed = [(use.name, use.strength, use.stages) for use in asked.loras]
    return [use for use in settled.loras if use.strength and (use.name, use.strength, use.stages) not in listed]


def meaning_data(means: PlanMeaning, language: Language) -> Data:
    """The numbers of the stages that run, by the stage's number from 0, and the time of all of them."""
    lines = {
        str(stage.number): [[title.to(language), value.to(language)] for title, value in stage.lines]
        for stage in means.stages
    }
    return {"lines": lines, "total": seconds_words(means.seconds).to(language)}


def _refusal(error: RequestError, language: Language) -> str:
    """What is wrong with something that was chosen, not typed."""
    title, colon = field_title(error.field.partition(".")[0]), Text(": ", "：")
    return f"{title.to(language)}{colon.to(language)}{error.reason.to(language)}"


def _remarks(entry: LoraEntry, width: int | None, request: GenerationRequest) -> Iterator[Text]:
    """What is odd about a LoRA that only a tag names, so that it has no row to say so."""
    for text in filter(None, (*entry.remarks(width), entry.unheard(request.full_prompt))):
        yield Text(f"LoRA {entry.name}: {text.en}", f"LoRA {entry.name}：{text.zh}")
