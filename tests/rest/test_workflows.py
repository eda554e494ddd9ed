"""Workflows for ComfyUI over REST, and the page's link to one."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.exports.comfy_nodes import faults
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.imports import read_settings
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.workflow_route import workflow_route

BOAT = {"prompt": "a red boat", "seed": 5, "num_inference_steps": 4}


def made(studio: QuickPageStudio, variation_strength: float = 0.0) -> SavedPicture:
    request = GenerationRequest(prompt="a red boat", seed=5, variation_strength=variation_strength)
    picture = finish(studio, studio.submit(request, "quick")).picture
    assert picture is not None
    return picture


def test_a_request_becomes_a_workflow(client: TestClient) -> None:
    answer = client.post("/api/workflow", json=BOAT, params={"form": "api"}).json()
    assert faults(answer["workflow"]) == []
    assert any("lies in folders" in note for note in answer["notes"])


def test_what_comfyui_can_not_do_is_named(client: TestClient) -> None:
    answer = client.post("/api/workflow", json=BOAT | {"variation_strength": 0.5})
    assert answer.status_code == 422
    assert "variation_strength" in answer.text
    assert client.post("/api/workflow", json=BOAT, params={"form": "xml"}).status_code == 422


def test_a_pictures_workflow_is_a_file_that_gives_its_settings_back(
    client: TestClient, studio: QuickPageStudio
) -> None:
    saved = made(studio)
    answer = client.get(f"/api/images/{saved.record.id}/workflow")
    assert answer.headers["content-disposition"] == f'attachment; filename="{saved.record.id}.workflow.json"'
    assert read_settings(answer.content, "a.json").request() == saved.record.request
    assert client.get("/api/images/none/workflow").status_code == 404


def test_the_page_links_to_it(studio: QuickPageStudio) -> None:
    page = TestClient(Starlette(routes=[workflow_route(studio, "en")]), base_url="http://127.0.0.1")
    saved = made(studio)
    answer = page.get(f"/workflows/{saved.record.id}.json")
    assert json.loads(answer.text)["extra"]["zimage_studio"]["model"] == "quick"
    varied = made(studio, variation_strength=0.5)
    refused = page.get(f"/workflows/{varied.record.id}.json")
    assert (refused.status_code, "variation_strength" in refused.text) == (422, True)
    assert page.get("/workflows/none.workflow.json").status_code == 404
