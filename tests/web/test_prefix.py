"""The app below a path, behind a proxy that takes it off and behind one that doesn't."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from zimage_app.domain.errors import RequestError
from zimage_app.service.setup.settings import Settings, load_settings
from zimage_app.web.credentials import Credentials
from zimage_app.web.hosts import Hosts
from zimage_app.web.middleware import MiddlewareConfig, middleware_config

USERS = {"anna": "correct horse"}


async def _where(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["path"])


def client(config: MiddlewareConfig) -> TestClient:
    inner = Starlette(routes=[Route("/{path:path}", _where)])
    app = Starlette(routes=[Mount("/api", inner), Route("/{path:path}", _where)], middleware=config.middleware("auto"))
    return TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/api/history", "/pictures/1.png", "/gradio_api/queue/data"])
def test_everything_is_there_with_the_path_and_without(path: str) -> None:
    page = client(MiddlewareConfig(prefix="/studio"))
    assert page.get(path).text == path
    assert page.get(f"/studio{path}").text == path
    assert page.get(f"/studios{path}").text != path


def test_the_page_is_a_folder_because_its_addresses_are_relative() -> None:
    answer = client(MiddlewareConfig(prefix="/studio")).get("/studio")
    assert (answer.status_code, answer.headers["location"]) == (307, "/studio/")


def test_a_login_leads_back_below_the_path() -> None:
    page = client(MiddlewareConfig(Hosts(), Credentials(USERS), prefix="/studio"))
    person = {"accept": "text/html"}
    assert page.get("/studio/docs", headers=person).headers["location"] == "/studio/login?next=/docs"
    assert 'action="/studio/login?next=/docs"' in page.get("/login?next=/docs", headers=person).text
    form = {"username": "anna", "password": "correct horse"}
    assert page.post("/login?next=/docs", data=form, headers=person).headers["location"] == "/studio/docs"


def test_the_path_is_one_setting_and_gradios_variable_does_as_well() -> None:
    assert middleware_config(Settings(root_path="/studio/"), Credentials(), {}).prefix == "/studio"
    assert middleware_config(Settings(), Credentials(), {"GRADIO_ROOT_PATH": "/studio"}).prefix == "/studio"
    assert (
        middleware_config(Settings(), Credentials(), {"GRADIO_ROOT_PATH": "https://example.com/studio"}).prefix
        == "/studio"
    )
    for wrong in ("studio", "//studio", "/a b", "https://example.com/studio"):
        with pytest.raises(RequestError, match="--root-path"):
            load_settings({"root_path": wrong}, {})
