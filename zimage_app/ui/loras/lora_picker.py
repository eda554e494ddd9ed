"""Data and routes of the LoRA library for the LoRA list and its picker. Independent of Gradio components.

The page's own script (``loras.js``) draws them and inserts texts with ``textContent``.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import StudioError
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.lora_use import MAX_LORAS, MAX_STRENGTH, LoraUse
from zimage_app.domain.text import Language, Text
from zimage_app.service.library.loras import LoraEntry
from zimage_app.service.library.loras.sidecar import parse_notes
from zimage_app.service.studio import Studio
from zimage_app.ui.http import IMMUTABLE, NO_STORE, Data
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.slow_work import HASHES, THUMBNAILS


def limits() -> Data:
    """Return the limits of the list's controls."""
    return {"most": MAX_LORAS, "strongest": MAX_STRENGTH, "step": knob_of(LoraUse, "strength").step}


def entry_data(
    entry: LoraEntry, width: int | None, language: Language, sha256: str | None, redacted: Callable[[Text], Text]
) -> Data:
    """Return one LoRA's data for the browser.

    ``width`` is the chosen model's hidden size; ``redacted`` returns a sentence as visitors may read it.
    """
    return {
        "name": entry.name,
        "title": entry.title,
        "kind": entry.kind,
        "rank": entry.rank,
        "spelling": entry.spelling,
        "size": entry.size,
        "base": entry.base,
        "note": entry.note,
        "triggers": entry.triggers,
        "preset": entry.preset_triggers,
        "strength": entry.strength,
        "mine": entry.notes.model_dump(mode="json"),
        "sha256": sha256,
        "picture": str(entry.thumbnail_modified) if entry.thumbnail else "",
        "problem": redacted(entry.problem).to(language) if entry.problem else "",
        "warnings": [redacted(text).to(language) for text in entry.remarks(width)],
    }


def library_data(studio: Studio, model: str, language: Language, *, refresh: bool = False) -> list[Data]:
    """Return the data of all LoRAs, with warnings for use with ``model``; ``refresh`` reads the folders again."""
    width = studio.width(model)
    loras = studio.loras
    return [
        entry_data(entry, width, language, loras.known_sha256(entry), studio.redacted)
        for entry in loras.entries(refresh=refresh)
    ]


def lora_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes of the library.

    ``/loras.json?model=NAME``, which reads the folders again with ``&refresh``; ``/lora.jpg?name=NAME``, the
    thumbnail; ``/lora.sha256?name=NAME``, the file's hash as text.
    """

    async def library(request: Request) -> Response:
        model = request.query_params.get("model") or studio.default_model
        language = language_of(request, default_language)
        try:
            data = await run_in_threadpool(
                library_data, studio, model, language, refresh="refresh" in request.query_params
            )
        except StudioError as error:
            return PlainTextResponse(studio.redacted(error.text).to(language), 404, headers=NO_STORE)
        return JSONResponse(data, headers=NO_STORE)

    async def digest(request: Request) -> Response:
        try:
            entry = await run_in_threadpool(studio.loras.find, request.query_params.get("name", ""))
            return PlainTextResponse(await HASHES.run(studio.loras.sha256, entry), headers=NO_STORE)
        except StudioError as error:
            told = studio.redacted(error.text).to(language_of(request, default_language))
            return PlainTextResponse(told, 404, headers=NO_STORE)

    async def picture(request: Request) -> Response:
        data = await THUMBNAILS.run(studio.loras.thumbnail, request.query_params.get("name", ""))
        if data is None:
            return PlainTextResponse("", 404, headers=NO_STORE)
        return Response(data, media_type="image/jpeg", headers=IMMUTABLE)

    return [Route("/loras.json", library), Route("/lora.jpg", picture), Route("/lora.sha256", digest)]


def save_note(studio: Studio, order: Data, language: Language) -> Data:
    """Save a user's ``notes`` on the LoRA ``name``; return the changed ``entry``, with warnings for ``model``."""
    entry = studio.note_lora(str(order.get("name", "")), parse_notes(order.get("notes")))
    width = studio.width(str(order.get("model") or studio.default_model))
    return {"entry": entry_data(entry, width, language, studio.loras.known_sha256(entry), studio.redacted)}
