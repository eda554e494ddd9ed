"""The response of middleware that refuses a request: a status and one sentence, as JSON for programs, else as text."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from zimage_app.domain.text import Text
from zimage_app.web.language import LanguageChoice, language_of

API = "/api"


def is_api(scope: Scope) -> bool:
    """Whether the request is for the REST API, not the page."""
    path = str(scope["path"])
    return path == API or path.startswith(f"{API}/")


def refusal(
    scope: Scope,
    status: int,
    text: Text,
    default_language: LanguageChoice = "auto",
    *,
    field: str | None = None,
    **headers: str,
) -> Response:
    """The response that refuses a request: for REST in the form of ``Problem``, for the page's scripts as ``error``."""
    sentence = text.to(language_of(HTTPConnection(scope), default_language))
    kept = {"cache-control": "no-store", **headers}
    if is_api(scope):
        return JSONResponse({"detail": sentence, "field": field}, status, headers=kept)
    if "text/html" in HTTPConnection(scope).headers.get("accept", ""):
        return PlainTextResponse(sentence, status, headers=kept)
    # Gradio's script reads ``detail`` from calls through its queue.
    return JSONResponse({"error": sentence, "detail": sentence}, status, headers=kept)
