"""Pictures over HTTP: saved ones unchanged or converted, a run's stages, examples; and the health check.

Independent of Gradio components. Files are found by id only, never by a path from the request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import StorageError
from zimage_app.domain.record import parameters_text
from zimage_app.domain.version import SERVICE, __version__
from zimage_app.service.pictures.formats import MEDIA_TYPES, converted, with_parameters
from zimage_app.service.pictures.picture_files import UnreadablePicture
from zimage_app.service.pictures.thumbnails import saved_thumbnail
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.studio import Studio
from zimage_app.ui.canvas.canvas import picture_data
from zimage_app.ui.canvas.examples import EXAMPLES
from zimage_app.ui.http import IMMUTABLE, NO_STORE, picture_gone
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of
from zimage_app.web.slow_work import THUMBNAILS

log = logging.getLogger(__name__)


def picture_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes ``/pictures/ID.png`` (a download with ``?download``) and others of a picture, and ``/health``.

    ``ID.jpg`` is a thumbnail, ``ID.json`` the data for the page, ``ID/saved.jpg`` and ``ID/saved.webp`` the converted
    picture with its settings inside. ``/runs/JOB/stage1.jpg`` is a finished stage of a recent run,
    ``/examples/NAME.jpg`` an example's thumbnail.
    """
    handlers = _PictureHandlers(studio, default_language)
    return [
        Route("/pictures/{picture_id}.png", handlers.png),
        Route("/pictures/{picture_id}.jpg", handlers.thumbnail),
        Route("/pictures/{picture_id}.json", handlers.facts),
        Route("/pictures/{picture_id}/saved.{kind}", handlers.saved_as),
        Route("/runs/{job_id}/stage{number}.jpg", handlers.stage),
        Route("/examples/{name}.jpg", handlers.example),
        Route("/health", _health),
    ]


class _PictureHandlers:
    """The handlers of these routes, for one studio."""

    def __init__(self, studio: Studio, default_language: LanguageChoice) -> None:
        self._studio = studio
        self._default_language = default_language

    def png(self, request: Request) -> Response:
        saved = self._found(request)
        if saved is None:
            return self._missing(request)
        return _whole(saved, "attachment" if "download" in request.query_params else "inline")

    async def thumbnail(self, request: Request) -> Response:
        saved = await run_in_threadpool(self._found, request)
        return (None if saved is None else await _small(saved)) or self._missing(request)

    def facts(self, request: Request) -> Response:
        saved = self._found(request)
        if saved is None:
            return self._missing(request)
        history = self._studio.history
        kept = [number for number, _ in history.stages(saved)]
        data = picture_data(saved, kept, language_of(request, self._default_language))
        more = {
            "starred": history.is_favourite(saved.record.id),
            "upscalers": list(self._studio.inputs.upscalers.names()),
        }
        return JSONResponse(data | more, headers=NO_STORE)

    async def saved_as(self, request: Request) -> Response:
        saved, kind = await run_in_threadpool(self._found, request), request.path_params["kind"]
        if saved is None or kind not in MEDIA_TYPES:
            return self._missing(request)

        def work() -> bytes:
            return converted(saved.read(), kind, saved.record.parameters_text)

        return await self._file(request, work, f"{saved.record.id}.{kind}")

    async def stage(self, request: Request) -> Response:
        asked, job_id = request.path_params["number"], request.path_params["job_id"]
        run = self._studio.run_of(job_id, owner_of(request))
        stages = run[0].stages if run else ()
        done = [stage for stage in stages if str(stage.number + 1) == asked and stage.seconds is not None]
        if run is None or not done or done[0].preview is None:
            return self._missing(request)
        view, plan = run
        number = done[0].number + 1
        preview, size = done[0].preview, (done[0].width, done[0].height)
        ran = [stage.number for stage in stages if stage.number < number]
        # The later stages are disabled, so that the embedded settings make the same picture.
        settings = tuple(
            stage.model_copy(update={"enabled": False}) if at >= number else stage
            for at, stage in enumerate(plan.request.stages or ())
        )
        request_of_it = plan.request.model_copy(update={"stages": settings})

        def work() -> bytes:
            return with_parameters(preview, parameters_text(request_of_it, ran, size, view.model, __version__))

        return await self._file(request, work, f"{job_id}-stage{number}.jpg")

    def example(self, request: Request) -> Response:
        example = EXAMPLES.get(request.path_params["name"])
        if example is None:
            return self._missing(request)
        return FileResponse(example.thumbnail(language_of(request, self._default_language)), headers=NO_STORE)

    async def _file(self, request: Request, work: Callable[[], bytes], name: str) -> Response:
        """Run ``work`` in a thread and send its bytes as a download; 404 or 422 where it fails."""
        try:
            data = await THUMBNAILS.run(work)
        except (OSError, UnreadablePicture):
            return self._missing(request)
        except StorageError as error:
            told = self._studio.redacted(error.text).to(language_of(request, self._default_language))
            return PlainTextResponse(told, 422, headers=NO_STORE)
        kept = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=NO_STORE | kept)

    def _found(self, request: Request) -> SavedPicture | None:
        try:
            return self._studio.picture(request.path_params["picture_id"], owner_of(request))
        except StorageError as error:
            log.warning("%s", error)
            return None

    def _missing(self, request: Request) -> Response:
        return picture_gone(language_of(request, self._default_language))


def _whole(saved: SavedPicture, kind: str) -> Response:
    """Return the saved PNG unchanged."""
    if saved.unsaved_png is not None:
        named = {"content-disposition": f'{kind}; filename="{saved.path.name}"'}
        return Response(saved.unsaved_png, media_type="image/png", headers=NO_STORE | named)
    return FileResponse(
        saved.path,
        media_type="image/png",
        filename=saved.path.name,
        content_disposition_type=kind,
        headers=IMMUTABLE,
    )


async def _small(saved: SavedPicture) -> Response | None:
    """Return a thumbnail, or the whole picture while it isn't saved yet; None where the file can't be read."""
    if saved.unsaved_png is not None:
        return Response(saved.unsaved_png, media_type="image/png", headers=NO_STORE)
    data = await THUMBNAILS.run(saved_thumbnail, saved.path)
    return None if data is None else Response(data, media_type="image/jpeg", headers=IMMUTABLE)


async def _health(request: Request) -> Response:
    del request
    return JSONResponse({"status": "healthy", "service": SERVICE}, headers=NO_STORE)
