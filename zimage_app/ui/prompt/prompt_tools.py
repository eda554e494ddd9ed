"""Data for the line below the prompt: the text that the model will read, and the wildcards to choose from.

Independent of Gradio components. The page's own script (``prompt.js``) draws it and inserts texts with ``textContent``.
The history of prompts stays in the browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Language, shortened
from zimage_app.domain.token_limit import check_tokens
from zimage_app.domain.wildcard_expansion import request_combinations
from zimage_app.domain.wildcards import drawn_pieces
from zimage_app.service.studio import Studio
from zimage_app.ui.canvas.canvas import lora_text
from zimage_app.ui.fields.values import request_data
from zimage_app.ui.http import Data
from zimage_app.ui.prompt.hints import named_by_tags

_SAMPLES = 40
"""Maximum lines of a wildcard list that the page shows."""
_COUNTABLE = 10**12
"""Number of combinations from which on only its power of ten is shown."""
_ANY_PROMPT = "-"
_PIECES, _PIECE = 3, 40
"""Maximum of choices and wildcards shown, and characters of each."""


def prompt(studio: Studio, order: Data, language: Language) -> Data:
    """Carry out an order of the prompt's script.

    Its ``do`` is ``wildcards``, the lists, or ``preview``, the prompt in the page's ``settings`` as the model reads it;
    ``example`` is the seed for drawing where the settings' seed is random.
    """
    if order.get("do") == "wildcards":
        return {"lists": wildcard_data(studio, language)}
    return preview_data(studio, order["settings"], int(order.get("example") or 0), language)


def wildcard_data(studio: Studio, language: Language) -> list[Data]:
    """Return every wildcard list with its first lines, or with its problem."""
    return [
        {
            "name": each.name,
            "about": each.about,
            "lines": each.lines[:_SAMPLES],
            "count": len(each.lines),
            "problem": studio.redacted(each.problem).to(language) if each.problem else "",
        }
        for each in studio.wildcards.lists()
    ]


def preview_data(studio: Studio, settings: Mapping[str, Any], example: int, language: Language) -> Data:
    """Return the text that the model will read, and what was derived from the prompt.

    ``text`` with its number of ``tokens`` and their ``limit``; whether it is the ``same`` as the prompt; ``loras`` that
    tags name; ``words`` added in front; the number of ``combinations`` of its choices, which are ``drawn``;
    a ``problem`` with a choice, a wildcard or the length. Empty while a field is half-typed.
    """
    blank = not str(settings["prompt"] or "").strip()
    try:
        asked = parse_request(request_data(dict(settings) | ({"prompt": _ANY_PROMPT} if blank else {})))
    except RequestError as error:  # a half-typed field is named by the check on Generate
        return {"problem": error.reason.to(language)} if error.field == "prompt" else {}
    try:
        count = request_combinations(asked, studio.wildcards.lines)
    except RequestError as error:
        return {"problem": studio.redacted(error.reason).to(language)}
    try:
        plan = _plan(studio, asked, str(settings["model"]), abs(example))
        return _data(studio, asked, plan, str(settings["model"]), language) | _combinations(count, asked)
    except StudioError:
        return {}


def _plan(studio: Studio, asked: GenerationRequest, model: str, example: int) -> GenerationPlan:
    return make_plan(
        asked, studio.card(model), lambda: example, lora_name=studio.loras.name_of, wildcard=studio.wildcards.lines
    )


def _data(studio: Studio, asked: GenerationRequest, plan: GenerationPlan, model: str, language: Language) -> Data:
    text = "" if asked.prompt == _ANY_PROMPT else plan.request.full_prompt
    tokens, limit = studio.tokens(model, text), studio.token_limit(model)
    return {
        "text": text,
        "same": text in ("", asked.prompt),
        "words": plan.request.joined_words,
        "loras": [lora_text(use) for use in named_by_tags(asked, plan.request)],
        "tokens": tokens,
        "limit": limit,
        "problem": _too_long(tokens, limit, language) if tokens and limit else "",
    }


def _combinations(count: int, asked: GenerationRequest) -> Data:
    shown = f"{count:,}" if count < _COUNTABLE else f"10^{len(str(count)) - 1}"
    texts = (asked.prompt, asked.negative, *asked.triggers)
    drawn = list(dict.fromkeys(piece for text in texts for piece in drawn_pieces(text)))
    more = " …" if len(drawn) > _PIECES else ""
    said = "  ".join(shortened(piece, _PIECE) for piece in drawn[:_PIECES]) + more
    return {"combinations": shown if count > 1 else "", "drawn": said, "example": count > 1 and asked.seed == "random"}


def _too_long(tokens: int, limit: int, language: Language) -> str:
    try:
        check_tokens("prompt", tokens, limit)
    except RequestError as error:
        return error.reason.to(language)
    return ""
