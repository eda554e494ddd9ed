"""The route that exports a picture's settings as a ComfyUI workflow."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from zimage_app.domain.errors import StudioError
from zimage_app.service.studio import Studio
from zimage_app.ui.http import NO_STORE, picture_gone
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of


def workflow_route(studio: Studio, default_language: LanguageChoice) -> Route:
    """Return the route ``/workflows/ID.json``: a download, or 422 with the reason where ComfyUI can't do the same."""

    def workflow(request: Request) -> Response:
        language = language_of(request, default_language)
        try:
            saved = studio.picture(request.path_params["picture_id"], owner_of(request))
            if saved is None:
                return picture_gone(language)
            made, _ = studio.workflow(saved.record.request, saved.record.model, "editor")
        except StudioError as error:
            return PlainTextResponse(studio.redacted(error.text).to(language), 422, headers=NO_STORE)
        named = {"content-disposition": f'attachment; filename="{saved.record.id}.workflow.json"'}
        return JSONResponse(made, headers=NO_STORE | named)

    return Route("/workflows/{picture_id}.json", workflow)
