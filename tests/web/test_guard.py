"""What is turned away before page and REST see it, and the headers that every answer has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from zimage_app.web.credentials import Credentials
from zimage_app.web.door import door
from zimage_app.web.guard import MAX_BODY, MAX_FILE, TAKES_FILES, GuardMiddleware, is_closed
from zimage_app.web.hosts import Hosts


async def _count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _socket(socket: WebSocket) -> None:
    await socket.accept()


def client(hosts: Hosts | None = None, **options: Any) -> TestClient:
    app = Starlette(
        routes=[Route("/{path:path}", _count, methods=["GET", "POST", "DELETE"]), WebSocketRoute("/socket", _socket)],
        middleware=[Middleware(GuardMiddleware, hosts=hosts or Hosts(["studio.example"]), **options)],
    )
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("LOCALHOST:7860", 200),
        ("localhost.", 200),
        ("192.168.1.20:7860", 200),
        ("[::1]:7860", 200),
        ("studio.example", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("studio.example.evil.example", 400),
        ("localhost@evil.example", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_only_names_of_this_app_are_answered(host: str, status: int) -> None:
    assert client().get("/", headers={"host": host}).status_code == status


def test_a_name_can_be_added_while_the_app_runs() -> None:
    hosts = Hosts()
    page = client(hosts)
    assert page.get("/", headers={"host": "abc.gradio.live"}).status_code == 400
    hosts.add("abc.gradio.live")
    assert page.get("/", headers={"host": "abc.gradio.live"}).status_code == 200
    assert page.get("/", headers={"host": "xyz.gradio.live"}).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:7860", "127.0.0.1:7860", 200),
        ("https://studio.example", "studio.example", 200),
        ("https://studio.example", "127.0.0.1:7860", 200),  # a proxy that changes the Host
        ("http://localhost", "localhost:80", 200),
        ("https://evil.example", "127.0.0.1:7860", 403),
        ("http://127.0.0.1:3000", "127.0.0.1:7860", 403),
        ("http://localhost:7860", "127.0.0.1:7860", 403),
        ("http://192.168.1.9:7860", "192.168.1.20:7860", 403),
        ("null", "127.0.0.1:7860", 403),
        ("http://[::1", "127.0.0.1:7860", 403),
    ],
)
def test_pages_of_other_sites_may_not_call(method: str, origin: str, host: str, status: int) -> None:
    assert client().request(method, "/x", headers={"origin": origin, "host": host}).status_code == status


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/gradio_api/proxy=https://evil.example/x", True),
        ("/gradio_api/file=http://169.254.169.254/", True),
        ("/gradio_api/file=HTTPS://evil.example/", True),
        ("/gradio_api/upload", True),
        ("/gradio_api/stream/1/2/3/playlist.m3u8", True),
        ("/gradio_api/vibe-code", True),
        ("/gradio_api/dev/reload", True),
        ("/prefix/gradio_api/proxy=https://evil.example", True),
        ("/gradio_api/queue/join", False),
        ("/gradio_api/component_server", False),
        ("/gradio_api/file=/tmp/a.png", False),
        ("/upload", False),
        ("/", False),
    ],
)
def test_routes_that_fetch_or_write_are_closed(path: str, closed: bool) -> None:
    assert is_closed(path) is closed
    assert client().get(path).status_code == (403 if closed else 200)


@pytest.mark.parametrize("path", ["/api/x%0Ay", "/x%00"])
def test_an_address_has_no_control_characters(path: str) -> None:
    assert client().get(path).status_code == 404


def _pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * 2**20


def test_a_body_may_be_so_long_whatever_it_says_of_itself() -> None:
    page = client()
    assert page.post("/", content=b"x" * MAX_BODY).text == str(MAX_BODY)
    assert page.post("/", content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert page.post("/", content=_pieces(MAX_BODY // 2**20)).text == str(MAX_BODY)
    assert page.post("/", content=_pieces(MAX_BODY // 2**20 + 1)).status_code == 413
    for path in TAKES_FILES:
        assert page.post(path, content=_pieces(MAX_FILE // 2**20)).text == str(MAX_FILE)
        assert page.post(path, content=_pieces(MAX_FILE // 2**20 + 1)).status_code == 413
    assert page.post("/", headers={"content-length": "1e9"}).status_code == 413


def test_there_are_no_sockets() -> None:
    with pytest.raises(WebSocketDisconnect), client().websocket_connect("/socket"):
        pass


def test_every_answer_tells_browsers_to_be_careful() -> None:
    for path, headers in (("/", {}), ("/", {"host": "evil.example"}), ("/gradio_api/upload", {})):
        answer = client().get(path, headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_space_may_be_framed_by_its_site_only() -> None:
    space = door([], Credentials(), {"SPACE_ID": "somebody/studio", "SPACE_HOST": "somebody-studio.hf.space"})
    answer = client(space.hosts, framed_by=space.framed_by).get("/", headers={"host": "somebody-studio.hf.space"})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")
    assert "x-frame-options" not in answer.headers
    at_home = door(["studio.example"], Credentials(), {})
    assert at_home.framed_by == ""
    assert at_home.hosts.knows("studio.example")


def test_a_refusal_is_said_in_the_visitors_language() -> None:
    page = client()
    chinese = {"accept-language": "zh-CN", "origin": "https://evil.example"}
    assert page.post("/x", headers=chinese).text == "不允许其他网站的页面调用本程序。"
    assert page.post("/api/generate", headers=chinese).json() == {
        "detail": "不允许其他网站的页面调用本程序。",
        "field": None,
    }


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", " Multipart/Form-Data; boundary=x", "multipart/mixed"]
)
def test_forms_with_files_are_refused_before_anything_is_written_down(kind: str) -> None:
    for path in ("/gradio_api/component_server", "/history/zip", "/import", "/api/inputs"):
        answer = client().post(path, content=b"--x\r\n", headers={"content-type": kind})
        assert answer.status_code == 415
