"""The history's routes for the page's own scripts. The owner's cookie selects the pictures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import StorageError, StudioError
from zimage_app.service.pictures.thumbnails import saved_thumbnail
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.studio import Studio
from zimage_app.ui.history.history import MAX_COMPARED, change, comparison_data, known_ids, page_data
from zimage_app.ui.http import IMMUTABLE, MAX_ORDER, NO_STORE, error_response, json_body, picture_gone
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of
from zimage_app.web.slow_work import THUMBNAILS


def history_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes: ``/history`` (GET a page, POST a change), ZIP, comparison, trashed thumbnails, stages."""
    handlers = _HistoryHandlers(studio, default_language)
    return [
        Route("/history", handlers.page),
        Route("/history", handlers.change, methods=["POST"]),
        Route("/history/zip", handlers.zip, methods=["POST"]),
        Route("/history/sides", handlers.comparison),
        Route("/history/trash/{picture_id}.jpg", handlers.trashed),
        Route("/history/{picture_id}/stage{number}.png", handlers.stage),
    ]


class _HistoryHandlers:
    """The handlers of these routes, for one studio's history."""

    def __init__(self, studio: Studio, default_language: LanguageChoice) -> None:
        self._studio = studio
        self._history = studio.history
        self._default_language = default_language

    def page(self, request: Request) -> Response:
        return self._answer(request, lambda: page_data(self._history, owner_of(request), dict(request.query_params)))

    async def change(self, request: Request) -> Response:
        order = await json_body(request)
        return await run_in_threadpool(self._answer, request, lambda: change(self._history, owner_of(request), order))

    def comparison(self, request: Request) -> Response:
        ids = known_ids(request.query_params.get("ids", ""))[:MAX_COMPARED]
        pictures = [found for each in dict.fromkeys(ids) if (found := self._found(each, request))]
        return self._answer(request, lambda: comparison_data(pictures, language_of(request, self._default_language)))

    async def trashed(self, request: Request) -> Response:
        found = await run_in_threadpool(self._found, request.path_params["picture_id"], request, trashed=True)
        data = None if found is None else await THUMBNAILS.run(saved_thumbnail, found.path)
        if data is None:
            return self._missing(request)
        return Response(data, media_type="image/jpeg", headers=IMMUTABLE)

    def stage(self, request: Request) -> Response:
        found = self._found(request.path_params["picture_id"], request)
        paths = {str(number): path for number, path in self._history.stages(found)} if found else {}
        path = paths.get(request.path_params["number"])
        return FileResponse(path, media_type="image/png", headers=IMMUTABLE) if path else self._missing(request)

    async def zip(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_part_size=MAX_ORDER)
        ids = known_ids(form.get("ids"))
        pieces = await run_in_threadpool(self._history.zip, ids, owner_of(request))
        name = f"z-image-{datetime.now().astimezone():%Y%m%d-%H%M%S}.zip"
        headers = NO_STORE | {"content-disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(pieces, media_type="application/zip", headers=headers)

    def _found(self, picture_id: str, request: Request, *, trashed: bool = False) -> SavedPicture | None:
        try:
            return self._history.find(picture_id, owner_of(request), trashed=trashed)
        except StorageError:
            return None

    def _missing(self, request: Request) -> Response:
        return picture_gone(language_of(request, self._default_language))

    def _answer(self, request: Request, work: Callable[[], dict[str, object]]) -> Response:
        try:
            return JSONResponse(work(), headers=NO_STORE)
        except StudioError as error:
            return error_response(self._studio, error, language_of(request, self._default_language))
