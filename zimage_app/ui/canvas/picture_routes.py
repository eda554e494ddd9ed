"""Saved pictures over HTTP, byte for byte, and a sign of life. Knows no components; only ids lead to files."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import StorageError
from zimage_app.domain.version import SERVICE
from zimage_app.service.pictures.thumbnails import saved_thumbnail
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.studio import Studio
from zimage_app.ui.canvas.canvas import facts_data
from zimage_app.ui.words.i18n import say
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of
from zimage_app.web.slow_work import THUMBNAILS

log = logging.getLogger(__name__)

_FOREVER = {"cache-control": "private, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
_NOW = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def picture_routes(studio: Studio, first: LanguageChoice) -> list[BaseRoute]:
    """``/pictures/ID.png`` (with ``?download`` as a file to keep), ``.jpg``, ``.json``, and ``/health``."""

    def found(request: Request) -> SavedPicture | None:
        try:
            return studio.picture(request.path_params["picture_id"], owner_of(request))
        except StorageError as error:
            log.warning("%s", error)
            return None

    def missing(request: Request) -> Response:
        return PlainTextResponse(say("picture_gone", language_of(request, first)), 404, headers=_NOW)

    def png(request: Request) -> Response:
        saved = found(request)
        if saved is None:
            return missing(request)
        return _whole(saved, "attachment" if "download" in request.query_params else "inline")

    async def jpg(request: Request) -> Response:
        saved = await run_in_threadpool(found, request)
        return (None if saved is None else await _small(saved)) or missing(request)

    def facts(request: Request) -> Response:
        saved = found(request)
        if saved is None:
            return missing(request)
        upscalers = list(studio.inputs.upscalers.names())
        data = facts_data(saved.record, language_of(request, first)) | {"upscalers": upscalers}
        return JSONResponse(data, headers=_NOW)

    return [
        Route("/pictures/{picture_id}.png", png),
        Route("/pictures/{picture_id}.jpg", jpg),
        Route("/pictures/{picture_id}.json", facts),
        Route("/health", _health),
    ]


def _whole(saved: SavedPicture, kind: str) -> Response:
    """The PNG, byte for byte."""
    if saved.unsaved is not None:
        named = {"content-disposition": f'{kind}; filename="{saved.path.name}"'}
        return Response(saved.unsaved, media_type="image/png", headers=_NOW | named)
    return FileResponse(
        saved.path,
        media_type="image/png",
        filename=saved.path.name,
        content_disposition_type=kind,
        headers=_FOREVER,
    )


async def _small(saved: SavedPicture) -> Response | None:
    """A thumbnail; of a picture that waits to be saved, the picture."""
    if saved.unsaved is not None:
        return Response(saved.unsaved, media_type="image/png", headers=_NOW)
    data = await THUMBNAILS.run(saved_thumbnail, saved.path)
    return None if data is None else Response(data, media_type="image/jpeg", headers=_FOREVER)


async def _health(request: Request) -> Response:
    del request
    return JSONResponse({"status": "healthy", "service": SERVICE}, headers=_NOW)
