"""Pictures made larger, over REST."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.models.upscaler_files import weights
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.rest.app import rest_routes
from zimage_app.service.library.upscalers import FOLDERS, UpscalerLibrary


def made(client: TestClient, studio: QuickPageStudio, path: str, body: dict[str, Any]) -> Any:
    asked = client.post(path, json=body)
    assert asked.status_code == 200, asked.text
    picture = finish(studio, asked.json()["task_id"]).picture
    assert picture is not None
    return picture.record, asked.json()["notes"]


def test_a_picture_of_the_history_is_made_larger(client: TestClient, studio: QuickPageStudio) -> None:
    first, _ = made(client, studio, "/api/generate", {"prompt": "boat", "seed": 3})
    record, notes = made(client, studio, "/api/upscale", {"image": first.id, "factor": 1.5, "steps": 2})
    assert (record.width, record.height, record.model) == (512, 640, first.model)
    assert (record.request.prompt, record.request.seed) == ("boat", 3)
    assert notes == ["Enlarged to 512 x 640 with Lanczos, then redrawn with denoise 0.3 in 2 steps."]


def test_a_picture_that_was_handed_in_is_made_larger(client: TestClient, studio: QuickPageStudio) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 96), "red").save(buffer, "PNG")
    kept = client.post("/api/inputs", content=buffer.getvalue()).json()["picture"]
    record, _ = made(client, studio, "/api/upscale", {"picture": kept, "prompt": "boat", "seed": 9, "model": "quick"})
    assert (record.width, record.height, record.request.seed) == (128, 192, 9)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image"),
        ({"image": "x", "picture": "0" * 64}, "image"),
        ({"picture": "0" * 64, "prompt": "boat"}, "start.picture"),
        ({"image": "x", "factor": 9}, "factor"),
        ({"image": "x", "colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_is_named(client: TestClient, body: dict[str, Any], field: str) -> None:
    refused = client.post("/api/upscale", json=body)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_what_is_no_digest_is_told_where_one_comes_from(client: TestClient) -> None:
    refused = client.post("/api/upscale", json={"picture": "abc", "prompt": "boat"}).json()
    assert refused["field"] == "picture"
    assert '"abc" must be the SHA-256 that POST /api/inputs answers' in refused["detail"]
    schema = client.get("/api/openapi.json").json()["components"]["schemas"]["UpscaleBody"]["properties"]["picture"]
    assert schema["anyOf"][0] == {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def test_pictures_and_upscalers_that_are_not_there_are_told(client: TestClient, studio: QuickPageStudio) -> None:
    assert client.post("/api/upscale", json={"image": "20260101-000000-00000000"}).status_code == 404
    first, _ = made(client, studio, "/api/generate", {"prompt": "boat"})
    refused = client.post("/api/upscale", json={"image": first.id, "upscaler": "4x.pth"})
    assert (refused.status_code, refused.json()["field"]) == (422, "start.upscaler")
    assert "models/upscalers/" in refused.json()["detail"]


def test_strangers_sizes_are_bounded_as_ever(tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)
    client = TestClient(Starlette(routes=rest_routes(studio, "auto")), base_url="http://127.0.0.1")
    first = client.post("/api/generate", json={"prompt": "boat", "width": 672, "height": 864})
    owner = first.headers["x-studio-owner"]
    picture = finish(studio, first.json()["task_id"]).picture
    assert picture is not None
    body = {"image": picture.record.id}
    client.cookies.clear()
    assert client.post("/api/upscale", json=body).status_code == 404  # another's
    refused = client.post("/api/upscale", json=body, headers={"x-studio-owner": owner})
    studio.close()
    assert refused.status_code == 422
    assert "at most 1048576 pixels" in refused.json()["detail"]


def test_upscalers_lie_in_the_folder_of_models_and_comfyuis(tmp_path: Path) -> None:
    for root, folder in ((tmp_path / "models", FOLDERS[0]), (tmp_path / "comfy", FOLDERS[1])):
        (root / folder).mkdir(parents=True)
        torch.save(weights(), root / folder / "same.pth")
        (root / folder / "notes.txt").touch()
        (root / folder / "._same.pth").touch()  # what macOS leaves beside a file
    torch.save(weights(), tmp_path / "comfy" / FOLDERS[1] / "other.pth")
    library = UpscalerLibrary((tmp_path / "models", tmp_path / "comfy", tmp_path / "none"))
    assert library.names() == ("other.pth", "same.pth")
    assert library.find("same.pth").parent.parent == tmp_path / "models"
