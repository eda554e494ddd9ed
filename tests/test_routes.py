"""Every route of the app, Gradio's and ours: which need a login, and which Gradio's routes are served."""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio.utils import get_upload_folder
from starlette.routing import BaseRoute, Mount

from tests.ports import free_port
from tests.ui.doubles import QuickPageStudio
from zimage_app.rest.app import rest_routes
from zimage_app.serve import open_page
from zimage_app.ui.launch import page_routes
from zimage_app.web.credentials import Credentials
from zimage_app.web.guard import TAKES_FILES
from zimage_app.web.middleware import MiddlewareConfig

LOGIN = {"anna": "correct horse"}
FUNCTIONS = ("generate", "status", "history")
OPEN = {
    *(("GET", f"/gradio_api/{name}") for name in ("info", "openapi.json", "startup-events", "app_id", "theme.css")),
    *(("GET", f"/gradio_api/{name}") for name in ("queue/data", "queue/status")),
    *(("POST", f"/gradio_api/{name}") for name in ("queue/join", "component_server", "cancel", "reset")),
    *(("POST", f"/gradio_api/{way}/{name}") for way in ("run", "api") for name in ("predict", *FUNCTIONS)),
    *(("POST", f"/gradio_api/call/{name}") for name in FUNCTIONS),
    *(("POST", f"/gradio_api/call/v2/{name}") for name in FUNCTIONS),
    *(("GET", f"/gradio_api/call/{name}/x") for name in FUNCTIONS),
    *(
        ("GET", path)
        for path in ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/assets/x", "/static/x")
    ),
}
"""What Gradio serves that the page or programs need; none fetches, takes files or changes the app."""
SLASHED = {"info", "app_id", "config", "component_server", "reset", *FUNCTIONS, "predict"}
"""What Gradio serves with a slash at the end, too."""


@dataclass(frozen=True)
class App:
    """A running app."""

    address: str
    found: list[tuple[str, str]]
    """(method, path) of every route there is."""
    gradios: list[tuple[str, str]]


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[App]:
    studio = QuickPageStudio(folder)
    port = free_port()
    page = open_page(studio, "auto", MiddlewareConfig(**options), server_name="127.0.0.1", server_port=port)
    found = sorted(set(routes(page.app.routes)))
    own = {*routes(page_routes(studio, "auto")), *routes(rest_routes(studio, "auto"))}
    try:
        yield App(f"http://127.0.0.1:{port}", found, [each for each in found if each not in own])
    finally:
        page.close(verbose=False)
        studio.close()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("app"), credentials=Credentials(LOGIN, "key-0123456789abcdef")) as app:
        yield app


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("app")) as app:
        yield app


def routes(found: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every route, with something in the place of its parameters."""
    for route in found:
        path = prefix + re.sub(r"\{[^}]*\}", "x", getattr(route, "path", ""))
        if isinstance(route, Mount):
            yield "GET", f"{path}/x"
            yield from routes(list(route.routes), path)
        elif hasattr(route, "path"):
            yield from ((method, path) for method in getattr(route, "methods", None) or {"GET"})
        elif hasattr(route, "original_router"):  # FastAPI's way of including others' routes
            yield from routes(list(route.original_router.routes), prefix)


def test_a_login_covers_every_route_of_gradio_and_of_ours(locked: App) -> None:
    paths = {path for _, path in locked.found}
    expected = {"/", "/config", "/api/generate", "/api/history", "/docs", "/pictures/x.png", "/history", "/import"}
    assert expected <= paths, "the walk misses routes"
    assert "/gradio_api/queue/join" in paths
    assert set(TAKES_FILES) <= paths, "a large body is let through to nobody"
    with httpx.Client(base_url=locked.address, timeout=30) as client:
        for method, path in locked.found:
            if path in ("/health", "/login", "/login/", "/logout", "/gradio_api/startup-events"):
                continue
            assert client.request(method, path).status_code == 401, (method, path)
            wrong = client.request(method, path, headers={"x-api-key": "no", "cookie": "studio_session=no"})
            assert wrong.status_code == 401, (method, path)


def forms(path: str) -> Iterator[str]:
    """An address as routers, proxies and file systems may read it the same, without itself."""
    head, _, last = path.rpartition("/")
    yield from (f"{path}//", f"/{path}", f"{head}//{last}", f"{head}/./{last}", f"/x/..{path}", f"{head}/x/../{last}")
    yield from (f"{head}%2f{last}", f"{head}/%2e/{last}", f"{head}\\{last}", f"{path}%00", f"{path}%20", f"{path};x")
    if last:
        yield from (f"{head}/%{ord(last[0]):02x}{last[1:]}", path.swapcase(), f"{path}.", f"{path}/x/x")


def ask(address: str, method: str, path: str) -> int:
    """The status of an address that is sent as it stands, before the answer ends."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        body, kind = (b"{}", {"content-type": "application/json"}) if method == "POST" else (None, {})
        connection.request(method, path, body, kind)
        return connection.getresponse().status
    finally:
        connection.close()


def test_of_gradios_routes_only_those_are_there_that_were_looked_at(unlocked: App) -> None:
    """A newer Gradio may bring routes that fetch or write; each must be looked at, then let in here or left out."""
    assert len(unlocked.gradios) > 70
    seen = set()
    for method, path in unlocked.gradios:
        known = path.rstrip("/") if path.strip("/").split("/")[-1] in SLASHED else path
        status = ask(unlocked.address, method, path)
        if (method.replace("HEAD", "GET"), known) in OPEN:
            seen.add(known)
        else:
            assert status == 404, (method, path, status)
        for form in forms(path):
            assert ask(unlocked.address, method, form) == 404, (method, form)
    assert {"/", "/config", "/gradio_api/queue/join"} <= seen


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file/http://127.0.0.1:1/x.png",
        "/gradio_api/file/https://example.com/x.png",
        "/gradio_api/file//etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/x.png",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file= /etc/passwd",
        "/gradio_api/file=",
        "/gradio_api/proxy=https://example.com/",
        "/gradio_api/upload",
        "/gradio_api/deep_link",
        "/gradio_api/upload_progress?upload_id=x",
        "/gradio_api/stream/1/2/3/playlist.m3u8",
        "/gradio_api/call/v2/other",
        "/pwa_icon/64",
        "/static/../config",
        "/svelte/x.js",
        "/monitoring",
        "/openapi.json",
    ],
)
def test_what_fetches_or_gives_files_is_not_there(unlocked: App, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        assert ask(unlocked.address, method, path.replace(" ", "%20")) == 404


BODIES = (b"", b"[]", b"1", b"null", b'"x"', b"{", b'{"x":1}', b'{"prompt":1,"data":2}', b'{"data":{}}')


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("way", ["call/v2/generate", "call/generate", "queue/join", "component_server", "run/predict"])
def test_odd_bodies_are_refused_in_words(unlocked: App, way: str, body: bytes) -> None:
    kind = {"content-type": "application/json"}
    answer = httpx.post(f"{unlocked.address}/gradio_api/{way}", content=body, headers=kind)
    assert 400 <= answer.status_code < 500


def test_a_picture_of_the_public_functions_is_given_as_a_file_to_keep(unlocked: App) -> None:
    folder = Path(get_upload_folder()) / "api" / "1-route-test"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(b"<script>1</script>")
    (folder / "a.html").write_bytes(b"<script>1</script>")
    try:
        answer = httpx.get(f"{unlocked.address}/gradio_api/file={folder / 'a.png'}")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert httpx.get(f"{unlocked.address}/gradio_api/file={folder / 'a.html'}").status_code == 404
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("origin", ["http://localhost:1", "http://evil.example", "null"])
def test_no_page_of_another_site_may_read_an_answer(unlocked: App, origin: str) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    for method, path in (("GET", "/config"), ("OPTIONS", "/api/generate"), ("OPTIONS", "/gradio_api/queue/join")):
        answer = httpx.request(method, f"{unlocked.address}{path}", headers=asked)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
    own = httpx.get(f"{unlocked.address}/config", headers={"origin": unlocked.address})
    assert own.status_code == 200
    assert not [name for name in own.headers if name.startswith("access-control")]


def test_below_a_path_everything_is_there(tmp_path: Path) -> None:
    with running(tmp_path, prefix="/studio") as app, httpx.Client(base_url=app.address, timeout=60) as client:
        for path in ("/", "/config", "/theme.css", "/api/history", "/docs", "/gradio_api/info", "/history", "/health"):
            assert client.get(f"/studio{path}").status_code == 200, path
            assert client.get(path).status_code == 200, f"{path}, of a proxy that takes the path off"
        assert client.get("/studio/config").json()["root"] == f"{app.address}/studio"
        assert '"/studio/api/openapi.json"' in client.get("/studio/docs").text.replace("'", '"')


def test_page_rest_events_and_documentation_lie_below_the_path_of_a_proxy(tmp_path: Path) -> None:
    with (
        running(tmp_path, prefix="/studio") as app,
        httpx.Client(base_url=f"{app.address}/studio", timeout=60) as client,
    ):
        for path in ("/", "/health", "/docs", "/api/openapi.json", "/api/history", "/api/system/status"):
            assert client.get(path).status_code == 200, path
        assert "/studio/api/openapi.json" in client.get("/docs").text
        assert client.get("/api/openapi.json").json()["servers"] == [{"url": "/studio/api"}]
        task = client.post("/api/generate", json={"prompt": "a boat"}).json()["task_id"]
        with client.stream("GET", f"/api/generate/{task}/events") as events:
            last = [line for line in events.iter_lines() if line.startswith("data:")][-1]
        assert '"status":"completed"' in last
        assert client.get(client.get(f"/api/generate/{task}").json()["result"]["download_url"]).content[1:4] == b"PNG"
