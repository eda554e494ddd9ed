"""The REST application to mount at ``/api``, and its documentation at ``/docs``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from zimage_app.domain.version import __version__
from zimage_app.rest import batch, grids, groups, inputs, library, pictures, queue, tasks, workflows
from zimage_app.rest.bodiless import HeadMiddleware
from zimage_app.rest.problems import answer_problems
from zimage_app.rest.schema import Problem
from zimage_app.service.studio import Studio
from zimage_app.web.guard import with_nonce
from zimage_app.web.language import LanguageChoice
from zimage_app.web.prefix import prefix_of

_ABOUT = """
Ask for a picture, watch it come about, fetch it. Everything that the page can set, a request can set; the settings of
every picture are in its PNG and can be sent again.

Where an API key is set, send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`. On a shared link or a public Space
each caller sees only their own: keep the `X-Studio-Owner` that the first answer gives (a cookie holds the same) and
send it with every call.
"""
_PROBLEMS: dict[int | str, dict[str, object]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "No key, or a wrong one.",
        404: "Not there, or not the caller's.",
        413: "The body is too large.",
        422: "A setting is not allowed: which, and what is.",
        429: "Too many of the caller's requests wait; Retry-After says when to try again.",
        503: "Too many requests wait; Retry-After says when to try again.",
    }.items()
}


def rest_routes(studio: Studio, default_language: LanguageChoice, prefix: str = "") -> list[BaseRoute]:
    """The routes of ``/api``, ``/docs`` and the files of ``/docs``; nothing loads from other hosts.

    ``prefix`` is the path below which the app is served.
    """
    return [
        Mount("/api", app=rest_app(studio, default_language, prefix)),
        Route("/docs", _docs),
        Mount("/docs/files", app=StaticFiles(packages=[("fastapi_offline", "static")])),
    ]


def rest_app(studio: Studio, default_language: LanguageChoice = "auto", prefix: str = "") -> FastAPI:
    """The endpoints below ``/api``."""
    bearer = HTTPBearer(auto_error=False, scheme_name="bearer")
    header = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key")
    app = FastAPI(
        title="Z-Image Progressive Studio",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": f"{prefix}/api"}],
        root_path_in_servers=False,  # FastAPI would show the path without the prefix
        responses=_PROBLEMS,
        # Only so that the documentation has fields for them; web/access.py checks them.
        dependencies=[Depends(bearer), Depends(header)],
    )
    app.state.studio = studio
    app.state.default_language = default_language
    for part in (tasks, batch, grids, groups, queue, inputs, pictures, workflows, library):
        app.include_router(part.router)
    answer_problems(app)
    app.add_middleware(HeadMiddleware)
    app.openapi = cache(partial(_schema, app.openapi))  # type: ignore[method-assign]  # FastAPI's way to extend it
    return app


def _schema(generated: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the generated schema with errors as JSON also for endpoints that return pictures or events.

    Called on request, because generating it at every start would take time.
    """
    schema = generated()
    problem = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    for methods in schema["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    answer["content"] = problem
    return schema


def _docs(request: Request) -> Response:
    root = prefix_of(request.scope)
    page = get_swagger_ui_html(
        openapi_url=f"{root}/api/openapi.json",
        title="Z-Image Progressive Studio: REST",
        swagger_js_url=f"{root}/docs/files/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/files/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs/files/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # otherwise Swagger UI sends the schema to an online validator
    )
    return HTMLResponse(with_nonce(bytes(page.body), request.scope))
