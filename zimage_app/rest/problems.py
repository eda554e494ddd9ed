"""Errors as responses: a status, one sentence in the caller's language, and the setting at fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from zimage_app.domain.errors import (
    BusyError,
    ForbiddenError,
    GenerationError,
    RequestError,
    StorageError,
    StudioError,
)
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import finding_error
from zimage_app.rest.bodiless import takes_head
from zimage_app.rest.schema import Problem
from zimage_app.web.language import language_of

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[StudioError], int], ...] = (
    (RequestError, 422),
    (ForbiddenError, 403),
    (GenerationError, 503),
    (StorageError, 500),
)
_WORDS = {
    400: Text("The body is not readable JSON.", "请求内容不是可读取的 JSON。"),
    404: Text("There is nothing at this address.", "这个地址没有内容。"),
    501: Text(
        "This Space borrows a GPU for each visitor of its page, which a call to /api is not; use the page, or its"
        " Gradio API with gradio_client.",
        "此 Space 的 GPU 按访客临时借用，/api 调用无法使用；请使用页面，或通过 gradio_client 调用其 Gradio 接口。",
    ),
    405: Text("This address doesn't take that method.", "这个地址不支持该请求方法。"),
}
_INTERNAL = Text(
    "Something went wrong inside the app; the log says what. Please report it.",
    "程序内部出错，详情见日志，欢迎反馈。",
)


class NotFoundError(StudioError):
    """The named thing does not exist or belongs to another owner."""


def answer_problems(app: FastAPI) -> None:
    """Answer every error of the endpoints with a ``Problem``."""
    handlers: dict[Any, Callable[[Request, Any], JSONResponse]] = {
        StudioError: _refused,
        RequestValidationError: _unreadable,
        HTTPException: _plain,
        Exception: _internal,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _answer(request: Request, status: int, text: Text, field: str | None = None, **headers: str) -> JSONResponse:
    sentence = text.to(language_of(request, request.app.state.default_language))
    # The sentence may quote the request, and a lone surrogate can't be encoded.
    problem = Problem(detail=sentence.encode(errors="backslashreplace").decode(), field=field)
    return JSONResponse(problem.model_dump(), status, headers=headers)


def _refused(request: Request, error: StudioError) -> JSONResponse:
    text = request.app.state.studio.redacted(error.text)
    if isinstance(error, NotFoundError):
        return _answer(request, 404, text)
    if isinstance(error, BusyError):
        wait = str(max(1, round(error.retry_after)))
        return _answer(request, 429 if error.own else 503, text, **{"retry-after": wait})
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    if status >= 500:
        log.warning("%s", error)
    return _answer(request, status, text, error.field if isinstance(error, RequestError) else None)


def _unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
    # The first part of ``loc`` ("body", "query") is not part of the field's name.
    details = [cast("ErrorDetails", {**item, "loc": item["loc"][1:]}) for item in error.errors()]
    if details[0]["type"] == "json_invalid":
        return _answer(request, 422, _WORDS[400], "request")
    return _refused(request, finding_error(details))


def _plain(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == 400:  # FastAPI's status for JSON that is nested too deeply
        return _answer(request, 422, _WORDS[400], "request")
    text = _WORDS.get(error.status_code, Text(str(error.detail), str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette lists the methods of only one of the routes with this path
        methods = _methods(request.app.routes, request.scope)
        head = {"HEAD"} if "GET" in methods and takes_head(request.scope) else set()
        headers["Allow"] = ", ".join(sorted(methods | head))
    return _answer(request, error.status_code, text, **headers)


def _methods(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """The methods of all routes with the request's path."""
    found: set[str] = set()
    for route in routes:
        if hasattr(route, "original_router"):  # FastAPI's wrapper of an included router
            found |= _methods(route.original_router.routes, scope)
        elif isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


def _internal(request: Request, error: Exception) -> JSONResponse:
    log.error("a call of %s failed", request.url.path, exc_info=error)
    return _answer(request, 500, _INTERNAL)
