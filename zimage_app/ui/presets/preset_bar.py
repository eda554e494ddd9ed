"""The preset bar's server function, and presets as page values. Independent of Gradio components.

The page's own script (``presets.js``) draws the bar and inserts texts with ``textContent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.preset import (
    Difference,
    Preset,
    differences,
    request_settings,
    stage_data,
    suits,
    with_strength,
)
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Language, Text
from zimage_app.service.rules.permissions import refuse_if_shared
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.stage_edits import resized
from zimage_app.ui.fields.values import Values, request_data, request_values, stages_values, titled
from zimage_app.ui.http import Data
from zimage_app.ui.words.i18n import WORDS


def presets(studio: Studio, order: Data, language: Language) -> Data:
    """Carry out an order of the bar's script.

    Its ``do`` is ``list``; ``state``, the differences between the page's ``settings`` and the preset ``name``;
    ``save``, which saves ``settings`` as ``name`` (``whole``: with prompt, seed and variation; ``replace``:
    overwrite); ``rename``, to ``new``; or ``delete``. The last three change files. An ``error`` comes with the list,
    because another tab may have changed it.
    """
    try:
        if order.get("do") == "state":
            found = state(studio, str(order.get("name") or ""), order.get("settings"))
            return {"differences": None if found is None else [_difference_data(each, language) for each in found]}
        chosen = "" if order.get("do") == "list" else _change(studio, order)
        return _list(studio, language) | {"chosen": chosen}
    except RequestError as error:
        reason = error.reason if error.field == "preset" else titled(error)
        return _list(studio, language) | {"error": studio.redacted(reason).to(language)}


def _list(studio: Studio, language: Language) -> Data:
    every = (*_of_the_model(studio.card(studio.default_model)), *studio.presets.presets())
    return {"presets": [_preset_data(studio, each, language) for each in every], "allowed": not studio.shared}


def state(studio: Studio, name: str, settings: object) -> tuple[Difference, ...] | None:
    """Return how the page's settings differ from a preset; None while they are half-typed and not valid.

    Raises:
        StudioError: there is no such preset, or its file is damaged.
    """
    try:
        values = settings if isinstance(settings, Mapping) else {}
        request = _request(values)
        card = studio.card(str(values["model"]))
    except (KeyError, StudioError):
        return None
    preset = preset_named(studio, name, card)
    wanted = preset_card(studio, preset, card)
    return differences(preset.settings, request, card, wanted.stages if wanted else None)


def preset_named(studio: Studio, name: str, card: ModelCard) -> Preset:
    """Return a preset of the library, or one of the two that belong to every model; ``card`` is the chosen model's.

    Raises:
        StudioError: there is no such preset, or its file is damaged.
    """
    own = next((each for each in _of_the_model(card) if each.name == name), None)
    return own or studio.presets.load(name)


def _of_the_model(card: ModelCard) -> tuple[Preset, ...]:
    """Return the model's own two presets. A file can't have their names, which contain a colon."""
    alternatives = {"recommended": card.stages, "single_stage": card.single_stage}
    return tuple(
        Preset(
            name=f"{_OWN}{name}",
            title=WORDS[f"presets_{name}"],
            description=WORDS[f"presets_{name}_about"],
            settings={"stages": [stage_data(stage) for stage in stages]},
        )
        for name, stages in alternatives.items()
    )


def preset_card(studio: Studio, preset: Preset, present_card: ModelCard) -> ModelCard | None:
    """Return the card of the model that a preset names: ``present_card`` where it suits; None where no model suits."""
    model = preset.settings.get("model")
    if model is None or suits(present_card, model):
        return present_card
    cards = studio.cards()
    return next((each for each in cards if each.name == model), next((c for c in cards if suits(c, model)), None))


def preset_values(preset: Preset, card: ModelCard | None, page_values: Mapping[str, Any]) -> Values:
    """Return the page values that a preset sets, given those that the page has; ``card`` comes from ``preset_card``."""
    settings = preset.settings
    stages = preset.stages or (card.stages if card and "model" in settings else None)
    plain = {
        name: value for name, value in settings.items() if name not in ("model", "stages", "size", "lora_strength")
    }
    asked = parse_request({"prompt": "-"} | plain)
    values: Values = {} if stages is None else stages_values(stages)
    filled = request_values(asked.model_copy(update={"stages": stages}), card or _NO_CARD)
    values |= {name: filled[name] for name in plain}
    if "size" in settings:
        values |= resized({"stages": values.get("stages", page_values.get("stages"))}, settings["size"], None)
    if "lora_strength" in settings:
        values["loras"] = with_strength(values.get("loras", page_values.get("loras")), settings["lora_strength"])
    return values


_NO_CARD = ModelCard("", Text("", ""), Text("", ""))
_OWN = "model:"


def _change(studio: Studio, order: Mapping[str, Any]) -> str:
    """Save, rename or delete a preset; return the name of the preset to select, empty after a deletion."""
    refuse_if_shared("presets", shared=studio.shared)
    name, library = str(order.get("name") or ""), studio.presets
    match order.get("do"):
        case "save":
            values = order.get("settings")
            values = values if isinstance(values, Mapping) else {}
            request = _request(values)
            settings = request_settings(str(values["model"]), request, whole=bool(order.get("whole")))
            if not str(values["prompt"] or "").strip():
                settings.pop("prompt", None)
            return library.save(name, settings, overwrite=bool(order.get("replace"))).name
        case "rename":
            return library.rename(name, str(order.get("new") or "")).name
        case "delete":
            library.delete(name)
    return ""


def _request(values: Mapping[str, Any]) -> GenerationRequest:
    blank = not str(values.get("prompt") or "").strip()
    return parse_request(request_data(dict(values) | ({"prompt": "-"} if blank else {})))


def _preset_data(studio: Studio, preset: Preset, language: Language) -> Data:
    return {
        "name": preset.name,
        "title": preset.title.to(language),
        "about": preset.description.to(language),
        "group": "mine" if preset.mine else "model" if preset.name.startswith(_OWN) else "shipped",
        "problem": studio.redacted(preset.problem).to(language) if preset.problem else "",
    }


def _difference_data(difference: Difference, language: Language) -> Data:
    return {"title": difference.title.to(language), "preset": difference.preset, "given": difference.given}
