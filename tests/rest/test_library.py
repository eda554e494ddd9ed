"""Lists over REST: pictures, models, LoRAs, presets, the machine; and the published schema."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.rest.test_tasks import asked
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import Stage
from zimage_app.rest.contract import GenerateInput


def made(client: TestClient, studio: QuickPageStudio, *prompts: str) -> list[str]:
    """Pictures of these prompts; their ids, newest first."""
    ids: list[str] = []
    for prompt in prompts:
        picture = finish(studio, asked(client, prompt=prompt)).picture
        assert picture is not None
        ids.insert(0, picture.record.id)
    studio.history.refresh()
    return ids


def listed(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/api/history", params=query)
    assert answer.status_code == 200, answer.text
    return [item["prompt"] for item in answer.json()["images"]]


def test_history_is_paged_and_searched(client: TestClient, studio: QuickPageStudio) -> None:
    made(client, studio, "红色小船", "a mountain", "a red boat")
    assert listed(client) == ["a red boat", "a mountain", "红色小船"]
    assert listed(client, search="小船") == ["红色小船"]
    assert listed(client, page=2, page_size=2) == ["红色小船"]
    assert listed(client, favourites=True) == []
    assert listed(client, model="no such model") == []
    page = client.get("/api/history", params={"page_size": 2}).json()
    assert (page["total"], page["page"], page["pages"]) == (3, 1, 2)
    assert listed(client, day=page["images"][0]["created_at"][:10])


def test_the_newest_picture(client: TestClient, studio: QuickPageStudio) -> None:
    assert client.get("/api/images/latest").status_code == 404
    newest = made(client, studio, "first", "second")[0]
    assert client.get("/api/images/latest").json()["id"] == newest


@pytest.mark.parametrize("picture", ["..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "20260101-000000-00000000", "x" * 65])
def test_an_id_is_never_a_path(picture: str, client: TestClient) -> None:
    assert client.get(f"/api/download/{picture}").status_code in (404, 422)


@pytest.mark.parametrize(
    ("query", "field"),
    [("page=0", "page"), ("page=1.5", "page"), ("page_size=101", "page_size"), ("day=yesterday", "day"), ("x=1", "x")],
)
def test_bad_questions_name_what_is_wrong(query: str, field: str, client: TestClient) -> None:
    answer = client.get(f"/api/history?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_what_requests_can_name(client: TestClient) -> None:
    assert client.get("/api/models").json()["default"] == "quick"
    assert client.get("/api/loras").json() == []
    assert client.get("/api/presets").json() == []


def test_the_machine_is_shown_at_home_only(client: TestClient, studio: QuickPageStudio) -> None:
    assert client.get("/api/system/status").json()["cpu"]["cores"] > 0
    assert client.get("/api/system/status").json()["runners"] == [
        {"kind": "local", "where": "auto", "model": None, "state": "free", "task_id": None, "problem": None}
    ]
    studio.shared = True
    status = client.get("/api/system/status").json()
    assert [status[name] for name in ("cpu", "memory", "gpu", "disk", "version", "runners")] == [None] * 6


def test_the_schema_is_the_requests_own(client: TestClient) -> None:
    published = client.get("/api/openapi.json").json()
    stage = published["components"]["schemas"]["Stage"]["properties"]
    assert set(stage) == set(Stage.model_fields)
    assert stage["sampler"]["enum"] == list(SAMPLER_TRAITS)
    assert (stage["width"]["minimum"], stage["width"]["multipleOf"]) == (64, 16)
    assert stage["denoise"]["description"] == knob_of(Stage, "denoise").help.en
    assert set(published["components"]["schemas"]["GenerateBody"]["properties"]) == {
        *GenerationRequest.model_fields,
        *GenerateInput.model_fields,
    }


def test_the_documentation_asks_no_other_machine(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("http://127.0.0.1", "").replace("<!-- ", "")
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/files/{file}" in page.text
        assert client.get(f"/docs/files/{file}").status_code == 200
