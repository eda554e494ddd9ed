"""The door of the whole app, Gradio's routes and ours: none is forgotten."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import BaseRoute, Mount

from tests.ui.doubles import ScriptedStudio
from zimage_app.serve import open_page
from zimage_app.web.credentials import Credentials
from zimage_app.web.door import Door
from zimage_app.web.guard import TAKES_FILES, is_closed

LOGIN = {"anna": "correct horse"}
KNOWN = {
    *(
        "app_id",
        "call",
        "cancel",
        "component_server",
        "file",
        "file=x",
        "heartbeat",
        "info",
        "login_check",
        "openapi.json",
    ),
    *("queue", "reset", "run", "api", "startup-events", "theme.css", "token", "user"),
}
"""What Gradio serves below ``/gradio_api/`` that was looked at and left open: it fetches and writes nothing."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """An app with a login: its address, and (method, path) of every route there is."""
    studio = ScriptedStudio(tmp_path_factory.mktemp("door"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    door = Door(credentials=Credentials(LOGIN, "key-0123456789abcdef"))
    page = open_page(studio, "auto", door, server_name="127.0.0.1", server_port=port)
    yield f"http://127.0.0.1:{port}", sorted(set(routes(page.app.routes)))
    page.close(verbose=False)
    studio.close()


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


def test_a_login_covers_every_route_of_gradio_and_of_ours(app: tuple[str, list[tuple[str, str]]]) -> None:
    address, found = app
    paths = {path for _, path in found}
    expected = {"/", "/config", "/api/generate", "/api/history", "/docs", "/pictures/x.png", "/history", "/import"}
    assert expected <= paths, "the walk misses routes"
    assert "/gradio_api/queue/join" in paths
    assert set(TAKES_FILES) <= paths, "a large body is let through to nobody"
    with httpx.Client(base_url=address, timeout=30) as client:
        for method, path in found:
            if path in ("/health", "/login", "/login/", "/logout", "/gradio_api/startup-events"):
                continue
            status = client.request(method, path).status_code
            assert status == 401 or (status == 403 and is_closed(path)), (method, path, status)
            wrong = client.request(method, path, headers={"x-api-key": "no", "cookie": "studio_session=no"})
            assert wrong.status_code in (401, 403), (method, path)


def test_every_route_of_gradios_is_known(app: tuple[str, list[tuple[str, str]]]) -> None:
    """A newer Gradio may bring routes that fetch or write; each must be looked at, then closed or let in here."""
    _, found = app
    ours = {path.removeprefix("/gradio_api/") for _, path in found if path.startswith("/gradio_api/")}
    open_ones = {path.strip("/").split("/")[0] for path in ours if not is_closed(f"/gradio_api/{path}")}
    assert open_ones <= KNOWN
    assert len(open_ones) > 10
