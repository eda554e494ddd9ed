"""Gradio's own API and MCP, as programs use them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.loops import run_async
from tests.ui.conftest import served
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.errors import StudioError
from zimage_app.ui.server.api import require_mcp
from zimage_app.web.credentials import Credentials
from zimage_app.web.middleware import MiddlewareConfig


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickPageStudio]:
    studio = QuickPageStudio(tmp_path_factory.mktemp("api"), step_seconds=0.0)
    yield studio
    studio.settle()
    studio.close()


@pytest.fixture(scope="module")
def address(studio: QuickPageStudio) -> Iterator[str]:
    with served(studio, mcp=True) as address:
        yield address


def test_a_picture_comes_to_gradios_client_byte_for_byte(studio: QuickPageStudio, address: str) -> None:
    client = Client(address, verbose=False)
    task = client.predict("a red boat", 7, api_name="/generate")
    picture = task["picture"]
    assert (task["status"], picture["seed"], picture["model"]) == ("done", 7, "quick")
    saved = studio.picture(picture["id"])
    assert saved is not None
    assert Path(picture["file"]).read_bytes() == saved.path.read_bytes()
    again = client.predict(
        "", settings='{"prompt": "小船", "stages": [{"steps": 2}]}', wait=False, api_name="/generate"
    )
    assert client.predict(again["task_id"], api_name="/status")["task_id"] == again["task_id"]
    studio.wait(again["task_id"], 10**6, 5)
    assert set(client.predict(api_name="/status")) == {"running", "waiting"}
    assert client.predict("red boat", api_name="/history")["items"][0]["id"] == picture["id"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "seed": -2}, "seed"),
        ({"prompt": "x", "model": "none"}, "no model none"),
        ({"prompt": "x", "settings": "{"}, "settings: is not JSON"),
        ({"prompt": "x", "settings": "[1]"}, "settings: must be a group"),
        ({"prompt": "x", "settings": '{"stages": [{"denoise": 3}]}'}, "stages.0.denoise"),
    ],
)
def test_a_refusal_is_the_pages_sentence(values: dict[str, Any], words: str, address: str) -> None:
    with pytest.raises(AppError, match=words):
        Client(address, verbose=False).predict(**values, api_name="/generate")


def test_a_search_has_the_length_that_the_page_and_rest_take(address: str) -> None:
    client = Client(address, verbose=False)
    assert client.predict("qqq " * 100, api_name="/history")["total"] == 0
    with pytest.raises(AppError, match="search: may have at most 400 characters"):
        client.predict("qqq " * 101, api_name="/history")


def test_the_api_offers_these_three_and_nothing_of_the_page(address: str) -> None:
    offered = Client(address, verbose=False).view_api(return_format="dict", print_info=False)
    assert set(offered["named_endpoints"]) == {"/generate", "/status", "/history"}
    assert offered["unnamed_endpoints"] == {}


def test_mcp_clients_find_the_tools_and_make_a_picture(address: str) -> None:
    async def use() -> tuple[dict[str, Any], str]:
        async with (
            streamable_http_client(f"{address}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            made = await session.call_tool("generate", {"prompt": "a red boat", "seed": 7})
            return tools, str(made.content)

    tools, made = run_async(use())
    assert set(tools) == {"generate", "status", "history"}
    assert set(tools["generate"].inputSchema["properties"]) == {"prompt", "seed", "model", "settings", "wait"}
    assert "What the picture shows" in str(tools["generate"].inputSchema)
    assert "'status': 'done'" in made or '"status": "done"' in made


def test_where_a_picture_is_handed_out_cannot_be_guessed(address: str) -> None:
    client = Client(address, verbose=False, download_files=False)
    task = client.predict("a red boat", 7, api_name="/generate")
    again = client.predict(task["task_id"], api_name="/status")
    first, second = (Path(each["picture"]["file"]["path"]) for each in (task, again))
    assert first.name == second.name
    assert first.parent != second.parent
    assert re.fullmatch("[0-9]{20}-[0-9a-f]{32}", first.parent.name)


@pytest.mark.parametrize("installed", ["2.0.1", None])
def test_mcp_without_the_package_that_it_needs_is_one_sentence(
    installed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("zimage_app.ui.server.api.version", version)
    with pytest.raises(StudioError, match="--mcp needs version 1"):
        require_mcp(logins=False)


def test_mcp_with_logins_is_refused_as_its_tools_could_not_log_in() -> None:
    with pytest.raises(StudioError, match="--mcp can't be used with --auth"):
        require_mcp(logins=True)


def test_a_login_is_asked_of_programs_too(tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path, step_seconds=0.0)
    with served(studio, MiddlewareConfig(credentials=Credentials({"anna": "correct horse"}))) as address:
        with pytest.raises(ValueError, match="Please login"):
            Client(address, verbose=False)
        client = Client(address, auth=("anna", "correct horse"), verbose=False)
        assert client.predict("x", api_name="/generate")["status"] == "done"
    studio.close()


def test_x1_strangers_share_no_task_and_no_picture(tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)
    owners = [hashlib.sha256(name).hexdigest()[:32] for name in (b"anna", b"bert")]
    with served(studio) as address:
        anna, bert = (Client(address, headers={"x-studio-owner": owner}, verbose=False) for owner in owners)
        nobody = Client(address, verbose=False)
        task = anna.predict("annas secret", api_name="/generate")
        assert anna.predict(task["task_id"], api_name="/status")["status"] == "done"
        studio.history.refresh()
        assert anna.predict(api_name="/history")["total"] == 1
        for stranger in (bert, nobody):
            assert stranger.predict(api_name="/history")["total"] == 0
            with pytest.raises(AppError, match="no such task"):
                stranger.predict(task["task_id"], api_name="/status")
    studio.close()
