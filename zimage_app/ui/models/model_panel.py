"""The model panel's data: all models, the one in memory, the running download. Independent of Gradio components.

The page's script (``models.js``) calls one function with an order and draws the answer, which has all texts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from zimage_app.domain.errors import FetchError, StudioError
from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Language, Text
from zimage_app.service.library.models import SOURCES, FetchView, ModelView
from zimage_app.service.rules.permissions import refuse_if_shared
from zimage_app.service.studio import Studio
from zimage_app.ui.http import Data
from zimage_app.ui.words.i18n import say

log = logging.getLogger(__name__)

_ADVERTISED = "z-image-turbo"
"""The model offered for download if none is recommended for this machine's GPU."""
_DEMO = "demo"
_PARTS = {
    "transformer": Text("transformer", "扩散模型"),
    "text_encoder": Text("text encoder", "文本编码器"),
    "vae": Text("VAE", "VAE"),
    "tokenizer": Text("tokenizer", "分词器"),
}


def models(studio: Studio, order: Data, language: Language) -> Data:
    """Carry out an order of the panel; return what it shows.

    Its ``do`` is view, offer, fetch (the latter two for the model ``name`` from ``source``), cancel, unload, devices
    (list them) or device (compute on ``name``; empty for the best one).
    """
    try:
        extra = _do(studio, order, language)
    except StudioError as error:
        extra = {"notice": studio.redacted(_error_text(error)).to(language)}
    except Exception:
        log.exception("the model panel failed")
        extra = {"notice": say("internal", language)}
    return panel_data(studio, language) | extra


def _do(studio: Studio, order: Mapping[str, Any], language: Language) -> Data:
    action, name, source = (str(order.get(key, "")) for key in ("do", "name", "source"))
    if action != "view":
        refuse_if_shared("models", shared=studio.shared)
    source = source if source in SOURCES else SOURCES[0]
    match action:
        case "offer":
            offer = studio.models.offer(name, source)
            return {"offer": {"name": name, "source": source, "text": offer.text.to(language) if offer else ""}}
        case "fetch":
            studio.models.start(name, source)
        case "cancel":
            studio.models.cancel()
        case "unload":
            studio.unload()
        case "devices":
            return _devices(studio, language)
        case "device":
            studio.use_device(name or None)
            return _devices(studio, language)
    return {}


def _devices(studio: Studio, language: Language) -> Data:
    """Return all devices and the chosen one."""
    from zimage_app.models.device import device_names  # imports torch, which takes seconds

    devices = [{"name": "", "title": say("device_auto", language)}]
    devices += [{"name": name, "title": f"{name} · {title}"} for name, title in device_names().items()]
    return {"devices": devices, "device": studio.device or ""}


def panel_data(studio: Studio, language: Language) -> Data:
    """Return everything that the panel shows."""
    suits = studio.suggested_model
    best = suits or _ADVERTISED
    views = sorted(studio.models.views(), key=lambda view: (view.state != "ready", view.name != best, view.name))
    loaded = studio.loaded()
    fetch = studio.models.fetching()
    titles = {view.name: view.card.title.to(language) for view in views}
    return {
        "allowed": not studio.shared,
        "headline": _headline((views, best), fetch, titles, language, loaded.name if loaded else ""),
        "models": [
            _row(
                view,
                language,
                loaded.about if loaded and loaded.name == view.name else (),
                suits=view.name == suits,
                shared=studio.shared,
            )
            for view in views
        ],
        "progress": _progress(studio, fetch, titles, language) if fetch else None,
        "sources": list(SOURCES),
    }


def _row(view: ModelView, language: Language, about: tuple[Text, ...], *, suits: bool, shared: bool) -> Data:
    if about and not shared:  # the message names the device
        text = say("model_in_memory", language, where=about[0].to(language))
    elif view.state == "fetch":
        missing = ", ".join(_PARTS[part].to(language) for part in view.missing)
        known = say("model_absent", language, size=shown_size(view.about)) if view.about else ""
        text = known or say("model_incomplete", language, parts=missing)
    else:
        text = say("model_ready" if view.state == "ready" else "model_broken", language)
    if suits and view.state == "fetch":
        text = say("model_suits", language, state=text)
    details = [view.reason] if view.reason else [*about[1:], *view.notes]
    return {
        "name": view.name,
        "title": view.card.title.to(language),
        "state": view.state,
        "loaded": bool(about),
        "text": text,
        # The messages name files and devices of this machine.
        "details": [] if shared else [detail.to(language) for detail in details],
    }


def _progress(studio: Studio, fetch: FetchView, titles: Mapping[str, str], language: Language) -> Data:
    progress = fetch.progress
    if fetch.error is not None:
        text = studio.redacted(_error_text(fetch.error)).to(language)
    elif fetch.state == "fetching" and progress is not None:
        text = progress.text.to(language)
    else:
        text = say(f"fetch_{fetch.state}", language)
    return {
        "name": fetch.model,
        "title": titles.get(fetch.model, fetch.model),
        "state": fetch.state,
        "running": not fetch.ended,
        "fraction": progress.fraction if progress else 0.0,
        "text": text,
    }


def _error_text(error: StudioError) -> Text:
    return error.on_page if isinstance(error, FetchError) else error.text


def _headline(
    offers: tuple[Sequence[ModelView], str],
    fetch: FetchView | None,
    titles: Mapping[str, str],
    language: Language,
    loaded: str,
) -> str:
    """Return the line that shows while the panel is closed. ``offers`` are all models and the suggested one's name."""
    views, best = offers
    if fetch is not None and not fetch.ended:
        percent = round(100 * fetch.progress.fraction) if fetch.progress else 0
        return say("models_fetching", language, title=titles.get(fetch.model, fetch.model), percent=percent)
    if {view.name for view in views if view.state == "ready"} <= {_DEMO}:
        offered = next((view for view in views if view.name == best), None)
        if offered is not None:
            size = shown_size(offered.about) if offered.about else ""
            return say("models_offer", language, title=offered.card.title.to(language), size=size)
    return say("models_loaded", language, title=titles[loaded]) if loaded in titles else say("models", language)
