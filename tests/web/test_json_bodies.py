"""JSON that is counted before it is parsed."""

from __future__ import annotations

import json
import time

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from zimage_app.web.json_bodies import (
    JSON_BODY,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_JSON,
    MAX_TEXT,
    JsonMiddleware,
    exceeded_bound,
)


async def _read(request: Request) -> JSONResponse:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "parsed": request.scope.get(JSON_BODY)})


def client() -> TestClient:
    app = Starlette(
        routes=[Route("/{path:path}", _read, methods=["GET", "POST"])],
        middleware=[Middleware(JsonMiddleware, files=("/import",))],
    )
    return TestClient(app)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * MAX_ELEMENTS + b"0]",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1),
        b'"' + b"x" * MAX_TEXT + b'"',
        b'"' + b'\\"' * (MAX_TEXT // 2 + 1),
        '{"prompt": "船"}'.encode("utf-16"),
        '{"prompt": "船"}'.encode("utf-32"),
    ],
)
def test_too_much_is_refused(body: bytes) -> None:
    assert exceeded_bound(body) is not None
    assert client().post("/api/generate", content=body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * (MAX_ELEMENTS - 2) + b"0]",
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        json.dumps({"prompt": '[{,"\\' * 8000}).encode(),
        '{"prompt": "夕阳"}'.encode(),
        b"{} ",
    ],
)
def test_what_is_in_bounds_is_parsed_once_and_handed_on(body: bytes) -> None:
    assert exceeded_bound(body) is None
    assert client().post("/x", content=body).json() == {"bytes": len(body), "parsed": json.loads(body)}


def test_what_is_no_json_is_left_to_who_wanted_it() -> None:
    assert client().post("/x", content=b"username=anna").json() == {"bytes": 13, "parsed": None}
    assert client().get("/x").json() == {"bytes": 0, "parsed": None}
    assert client().post("/x", content=b" " * (MAX_JSON + 1)).status_code == 413
    assert client().post("/import", content=b"," * (MAX_JSON + 1)).json()["bytes"] == MAX_JSON + 1


@pytest.mark.parametrize("piece", [b'"', b"[", b'"\\"', b"\\", b'\\"', b"{}", b",", b'"",'])
def test_every_byte_is_looked_at_once(piece: bytes) -> None:
    """Patterns may take a time that grows with the square: here that would be hours."""
    begun = time.process_time()
    exceeded_bound(b'"' + piece * (MAX_JSON // len(piece)))
    exceeded_bound(piece * (MAX_JSON // len(piece)))
    assert time.process_time() - begun < 10
