"""Reads the settings from files that are dropped on the page; the files are not saved.

The page's own script (``drop.js``) sends a file, gets its settings, and sends those back to be filled in; they are
checked again then, like everything from a browser.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import BusyError, ImportedFileError
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Language
from zimage_app.service.generation.start_pictures import check_upload
from zimage_app.service.imports import MAX_BYTES, Imported, fitted, read_settings
from zimage_app.service.pictures.picture_files import is_picture
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import Values, request_values
from zimage_app.ui.http import NO_STORE, Data
from zimage_app.web.json_bodies import read_body
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.slow_work import UPLOADS

_MAX_NAME = 200


def import_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the route ``POST /import?name=FILE``, with the file as the body; it answers as ``answer`` does."""

    async def read(request: Request) -> JSONResponse:
        language = language_of(request, default_language)
        name, file = await read_upload(request, MAX_BYTES, "file")
        try:
            data = await UPLOADS.run(answer, studio, file, name, language)
        except BusyError as error:
            return JSONResponse({"error": error.to(language)}, 503, headers=NO_STORE)
        return JSONResponse(data, 422 if "error" in data else 200, headers=NO_STORE)

    return [Route("/import", read, methods=["POST"])]


async def read_upload(request: Request, max_bytes: int, default_name: str) -> tuple[str, bytes]:
    """Return name and bytes of an uploaded file; reading stops soon after ``max_bytes`` bytes."""
    body = await read_body(request, max_bytes)
    return request.query_params.get("name", "")[:_MAX_NAME] or default_name, body


def answer(studio: Studio, file: bytes, name: str, language: Language) -> Data:
    """Return a file's settings with lists of what was taken over, translated and left out.

    Without settings, there is only the reason: ``plain`` of a picture to start from, else ``error``.
    """
    try:
        imported = read_settings(file, name)
    except ImportedFileError as error:
        fault = _fault(file, name) if is_picture(file) else error
        reason = studio.redacted((fault or error).text).to(language)
        return {"plain" if fault is None else "error": reason}
    if not imported.exact:
        imported = fitted(imported, studio.loras, {card.name: card.family for card in studio.cards()})
    return _data(imported, language)


def _fault(file: bytes, name: str) -> ImportedFileError | None:
    """What is wrong with a picture to start from, if anything is."""
    try:
        check_upload(file, name)
    except ImportedFileError as error:
        return error
    return None


def _data(imported: Imported, language: Language) -> Data:
    lists = {
        "taken": imported.taken,
        "translated": imported.translated,
        "left": imported.left,
    }
    said = {name: [text.to(language) for text in texts] for name, texts in lists.items()}
    # As text, because browsers round integers above 2^53.
    settings = json.dumps(imported.settings)
    start = None if imported.start is None else asdict(imported.start)
    return {
        "source": imported.source.to(language),
        "model": imported.model,
        "settings": settings,
        "start": start,
        **said,
    }


def imported_values(given: object, card: ModelCard) -> Values:
    """Convert imported settings, as JSON, to page values.

    Missing settings get the model's recommended values; a missing prompt is left out, so that the page's prompt stays.

    Raises:
        RequestError: a value isn't allowed.
    """
    settings = json.loads(str(given))
    values = request_values(parse_request({"prompt": "-", **settings}), card)
    if "prompt" not in settings:
        del values["prompt"]
    return values
