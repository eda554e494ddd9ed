"""What the page's own routes have in common: headers, JSON bodies, actions by name, error responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.text import Language, Text
from zimage_app.service.studio import Studio
from zimage_app.ui.words.i18n import say
from zimage_app.web.json_bodies import read_body

NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Headers for what may change at any time."""
IMMUTABLE = {"cache-control": "private, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
"""Headers for what never changes under its address, such as a saved picture."""
MAX_ORDER = 2**20
"""Bytes of a JSON body."""

Data = dict[str, Any]
"""A JSON object."""
Action = TypeVar("Action")


async def json_body(request: Request, max_bytes: int = MAX_ORDER) -> object:
    """Return the parsed JSON body; None where it can't be parsed or has more than ``max_bytes`` bytes."""
    return parse_json(await read_body(request, max_bytes))


def parse_json(body: bytes) -> object:
    """Return the parsed JSON; None where it can't be parsed."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def chosen_action(actions: Mapping[str, Action], name: object) -> Action:
    """Return the action with this name; raise RequestError of ``do`` for an unknown name."""
    if not isinstance(name, str) or name not in actions:
        raise RequestError("do", Text(f"must be one of {', '.join(actions)}", f"必须是 {'、'.join(actions)} 之一"))
    return actions[name]


def error_response(studio: Studio, error: StudioError, language: Language, text: Text | None = None) -> Response:
    """Return an error as JSON, with ``text`` or the error's own text: status 422 for an invalid request, else 500."""
    status = 422 if isinstance(error, RequestError) else 500
    return JSONResponse({"error": studio.redacted(text or error.text).to(language)}, status, headers=NO_STORE)


def picture_gone(language: Language) -> Response:
    """Return the response for a picture that doesn't exist, or that this visitor may not see."""
    return PlainTextResponse(say("picture_gone", language), 404, headers=NO_STORE)
