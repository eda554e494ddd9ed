"""Routes for start pictures and masks, which the page's scripts (``start.js``, ``mask.js``) upload.

The page keeps only the request's ``start`` as plain data. Independent of Gradio components.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import BusyError, ImportedFileError, StorageError
from zimage_app.domain.settings.start_picture import MAX_MARGIN, StartPicture
from zimage_app.service.generation.start_pictures import MAX_BYTES
from zimage_app.service.studio import Studio
from zimage_app.ui.drop.drop import read_upload
from zimage_app.ui.fields.controls import bounds
from zimage_app.ui.http import IMMUTABLE, NO_STORE
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import new_owner, owner_cookie, owner_of
from zimage_app.web.slow_work import THUMBNAILS, UPLOADS


def start_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes.

    ``POST /inputs?name=FILE`` with the picture as the body answers its hash and size, or an ``error``. Then
    ``/inputs/HASH`` is the uploaded picture, and ``/inputs/HASH.jpg`` a thumbnail.
    """

    async def hand_in(request: Request) -> JSONResponse:
        language = language_of(request, default_language)
        name, picture = await read_upload(request, MAX_BYTES, "picture")
        headers, owner = dict(NO_STORE), owner_of(request)
        if studio.shared and not owner:  # otherwise nobody could use it, and it would displace the operator's own
            owner = new_owner()
            headers["set-cookie"] = owner_cookie(request, owner)
        try:
            kept = await UPLOADS.run(studio.inputs.save, picture, name, owner)
        except BusyError as error:
            return JSONResponse({"error": error.to(language)}, 503, headers=NO_STORE)
        except (ImportedFileError, StorageError) as error:
            return JSONResponse({"error": studio.redacted(error.text).to(language)}, 422, headers=NO_STORE)
        return JSONResponse({"picture": kept.sha256, "width": kept.width, "height": kept.height}, headers=headers)

    async def small(request: Request) -> Response:
        data = await THUMBNAILS.run(studio.inputs.thumbnail, request.path_params["digest"], owner_of(request))
        if data is None:
            return PlainTextResponse("", 404, headers=NO_STORE)
        return Response(data, media_type="image/jpeg", headers=IMMUTABLE)

    def whole(request: Request) -> Response:
        kept = studio.inputs.original(request.path_params["digest"], owner_of(request))
        if kept is None:
            return PlainTextResponse("", 404, headers=NO_STORE)
        path, kind = kept
        return FileResponse(path, media_type=kind, headers=IMMUTABLE)

    return [
        Route("/inputs", hand_in, methods=["POST"]),
        Route("/inputs/{digest}.jpg", small),
        Route("/inputs/{digest}", whole),
    ]


def mask_bounds() -> dict[str, float]:
    """Return the upper limits of the mask editor's controls."""
    _, feather, _ = bounds(StartPicture, "feather")
    return {"feather": feather, "extend": MAX_MARGIN}
