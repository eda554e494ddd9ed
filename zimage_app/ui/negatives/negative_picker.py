"""The server function of the page's library of negative prompts. Independent of Gradio components.

The page's own script (``negatives.js``) draws the library and inserts texts with ``textContent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.negatives import NagNeed, NegativeCategory, NegativeEntry, nag_need, phrases, toggled
from zimage_app.domain.request import MAX_PROMPT, parse_request
from zimage_app.domain.settings.guidance import Nag
from zimage_app.domain.text import Language, Text
from zimage_app.service.library.negatives.library import MINE
from zimage_app.service.rules.permissions import refuse_if_shared
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import Values, page_stages, request_data
from zimage_app.ui.http import Data

_TOO_LONG = Text(
    f"A negative prompt may have at most {MAX_PROMPT} characters.", f"反向提示词最多 {MAX_PROMPT} 个字符。"
)


def negatives(studio: Studio, order: Data, language: Language) -> Data:
    """Carry out an order of the library's script.

    Its ``do`` is ``library``; ``refresh``, which reads the files again; ``state`` of the negative prompt ``text`` under
    the page's ``settings``; ``toggle``, which adds ``entry`` to ``text`` or removes it; or ``add``, ``remove``,
    ``mark`` and ``unmark``, which change the files.
    """
    text, entry = str(order.get("text") or ""), str(order.get("entry") or "")
    if max(len(text), len(entry)) > MAX_PROMPT:
        raise StudioError(_TOO_LONG)
    try:
        match order.get("do"):
            case "state":
                return state_data(studio, text, order.get("settings"))
            case "toggle":
                return {"text": toggled(text, entry)}
            case "refresh":
                studio.negatives.categories(refresh=True)
            case action if action != "library":
                _change(studio, str(action), entry, str(order.get("meaning") or ""))
        return library_data(studio, language)
    except RequestError as error:
        return {"error": studio.redacted(error.reason).to(language)}


def library_data(studio: Studio, language: Language) -> Data:
    """Return the categories with their entries, the favourites, and whether the visitor may change them."""
    library = studio.negatives
    return {
        "categories": [_category_data(studio, category, language) for category in library.categories()],
        "favourites": library.favourites(),
        "allowed": not studio.shared,
    }


def state_data(studio: Studio, text: str, settings: object) -> Data:
    """Return a negative prompt's phrases, its number of tokens, and what NAG would cost in stages that ignore it."""
    values = settings if isinstance(settings, Mapping) else {}
    model = str(values.get("model") or studio.default_model)
    found = _nag_need(values) if text.strip() else None
    return {
        "phrases": phrases(text),
        "tokens": studio.tokens(model, text) if text.strip() else 0,
        "guide": _nag_need_data(found) if found else None,
    }


def nag_values(values: Mapping[str, Any]) -> Values:
    """Return ``stages`` with NAG on where the negative prompt has no effect; empty where none needs it.

    Also empty while settings are half-typed.
    """
    found = _nag_need(values)
    if found is None:
        return {}
    nag = {"nag": True} | {f"nag.{name}": value for name, value in Nag().model_dump().items()}
    stages = page_stages(values)
    return {"stages": [stage | nag if number in found.stages else stage for number, stage in enumerate(stages)]}


def _nag_need(values: Mapping[str, Any]) -> NagNeed | None:
    try:
        asked = parse_request(request_data({**values, "prompt": "-"}))
        return nag_need(asked.running)
    except (KeyError, StudioError):  # half-typed; the check on Generate names the field
        return None


def _nag_need_data(found: NagNeed) -> Data:
    return {"stages": [number + 1 for number in found.stages], "percent": f"{100 * found.extra:.0f}"}


def _change(studio: Studio, action: str, entry: str, meaning: str) -> None:
    refuse_if_shared("negatives", shared=studio.shared)
    library = studio.negatives
    match action:
        case "add":
            library.add(entry, meaning)
        case "remove":
            library.remove(entry)
        case "mark" | "unmark":
            library.mark(entry, favourite=action == "mark")


def _category_data(studio: Studio, category: NegativeCategory, language: Language) -> Data:
    return {
        "name": category.name,
        "title": category.title.to(language),
        "mine": category.name == MINE,
        "problem": studio.redacted(category.problem).to(language) if category.problem else "",
        "entries": [_entry_data(entry, language) for entry in category.entries],
    }


def _entry_data(entry: NegativeEntry, language: Language) -> Data:
    when = (entry.when.zh, entry.when.en) if entry.when else ("", "")
    return {
        "text": entry.text,
        "meaning": entry.meaning,
        "when": entry.when.to(language) if entry.when else "",
        "search": "\n".join((entry.text, entry.meaning, *when)),
    }
