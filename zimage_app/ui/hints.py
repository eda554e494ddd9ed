"""What the settings as they stand come to, before anything is run. Knows no components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zimage_app.domain.errors import LoraError, StudioError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Language
from zimage_app.ui.backend import Backend
from zimage_app.ui.values import request_data

Data = dict[str, Any]


def hint_function(studio: Backend, tabs: int) -> Callable[[Data], Data]:
    """What the hints' script calls, with the page's ``settings`` by name and its ``language``."""

    def hints(page: Data) -> Data:
        """``hints``, sentences to show, and ``reads``, what the model will read; nothing while that can't be told."""
        values = page["settings"]
        language: Language = "zh" if page["language"] == "zh" else "en"
        blank = not str(values["prompt"] or "").strip()
        try:
            asked = parse_request(request_data(values | ({"prompt": "-"} if blank else {}), tabs))
            plan = make_plan(asked, studio.card(str(values["model"])), lora_name=studio.loras.name_of)
        except LoraError as error:
            return {"hints": [error.to(language)], "reads": None}
        except StudioError:  # half-typed; the button's own check names the field
            return {"hints": [], "reads": None}
        return {
            "hints": [text.to(language) for text in plan.warnings],
            "reads": None if blank else _reading(asked, plan.request),
        }

    return hints


def _reading(asked: GenerationRequest, settled: GenerationRequest) -> Data | None:
    """The text that the model reads and the LoRAs as tags set them; None where it reads the prompt as it stands."""
    if settled.full_prompt == asked.prompt:
        return None
    by_tags = [use for use in settled.loras if use not in asked.loras]
    return {"text": settled.full_prompt, "loras": [f"{use.name} {use.strength:g}" for use in by_tags]}
