"""The library of negative prompts on the page: what its script is told, and what it may ask for. Knows no components.

The page's own script (``negatives.js``) draws all of it and puts texts in with ``textContent``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.negatives import Help, NegativeCategory, NegativeEntry, helped, phrases, toggled
from zimage_app.domain.request import Nag, parse_request
from zimage_app.domain.text import Language, language_named
from zimage_app.service.library.negatives.library import MINE
from zimage_app.service.rules.permissions import require_home
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import Values, page_stages, request_data

Data = dict[str, Any]


def library_function(studio: Studio) -> Callable[[Data], Data]:
    """What the library's script calls.

    ``do`` is ``library`` or ``refresh`` (tells everything), ``state`` (of the negative prompt ``text`` in the page's
    ``settings``), ``toggle`` (of ``entry``), or ``add``, ``remove``, ``mark`` and ``unmark``, which change the files.
    """

    def negatives(order: Data) -> Data:
        """What was asked for; an ``error`` in the page's language where it can't be."""
        language = language_named(order.get("language"))
        text, entry = str(order.get("text") or ""), str(order.get("entry") or "")
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
            return {"error": error.reason.to(language)}
        except StudioError as error:
            return {"error": error.to(language)}

    return negatives


def library_data(studio: Studio, language: Language) -> Data:
    """The categories with their entries, the favourites, and whether the visitor may change anything."""
    library = studio.negatives
    return {
        "categories": [_category_data(category, language) for category in library.categories()],
        "favourites": library.favourites(),
        "allowed": not studio.shared,
    }


def state_data(studio: Studio, text: str, settings: object) -> Data:
    """Which phrases a negative prompt has, its tokens, and what would give it an effect where it has none."""
    values = settings if isinstance(settings, Mapping) else {}
    model = str(values.get("model") or studio.default_model)
    found = _help(values) if text.strip() else None
    return {
        "phrases": phrases(text),
        "tokens": studio.tokens(model, text) if text.strip() else 0,
        "guide": _help_data(found) if found else None,
    }


def guide_values(values: Mapping[str, Any]) -> Values:
    """The page values that give a negative prompt an effect; empty where it has one, or can't be told yet."""
    found = _help(values)
    if found is None:
        return {}
    nag = {"nag": True} | {f"nag.{name}": value for name, value in Nag().model_dump().items()}
    stages = page_stages(values)
    return {"stages": [stage | nag if number in found.stages else stage for number, stage in enumerate(stages)]}


def _help(values: Mapping[str, Any]) -> Help | None:
    try:
        asked = parse_request(request_data({**values, "prompt": "-"}))
        return helped(asked.running)
    except (KeyError, StudioError):  # half-typed; the button's own check names the field
        return None


def _help_data(found: Help) -> Data:
    stages = ", ".join(str(number + 1) for number in found.stages)
    return {"stages": stages, "percent": f"{100 * found.extra:.0f}"}


def _change(studio: Studio, action: str, entry: str, meaning: str) -> None:
    require_home("negatives", shared=studio.shared)
    library = studio.negatives
    match action:
        case "add":
            library.add(entry, meaning)
        case "remove":
            library.remove(entry)
        case "mark" | "unmark":
            library.mark(entry, favourite=action == "mark")


def _category_data(category: NegativeCategory, language: Language) -> Data:
    return {
        "name": category.name,
        "title": category.title.to(language),
        "mine": category.name == MINE,
        "problem": category.problem.to(language) if category.problem else "",
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
