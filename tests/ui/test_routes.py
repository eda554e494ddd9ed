"""Saved pictures over HTTP."""

from __future__ import annotations

import io
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service import quick
from tests.service.quick import QuickStudio
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.pictures.thumbnails import SIZE
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.picture_routes import picture_routes


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    return QuickPageStudio(tmp_path, step_seconds=0.0)


@pytest.fixture
def client(studio: QuickPageStudio) -> TestClient:
    return TestClient(Starlette(routes=picture_routes(studio, "auto")))


@pytest.fixture
def saved(studio: QuickPageStudio) -> SavedPicture:
    view = finish(studio, studio.submit(GenerationRequest(prompt="小船 <i>"), "quick"))
    assert view.picture is not None
    return view.picture


def test_the_png_is_the_file_byte_for_byte(client: TestClient, saved: SavedPicture) -> None:
    answer = client.get(f"/pictures/{saved.record.id}.png")
    assert answer.content == saved.path.read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == f'inline; filename="{saved.path.name}"'
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_download_is_a_file_to_keep(client: TestClient, saved: SavedPicture) -> None:
    answer = client.get(f"/pictures/{saved.record.id}.png?download")
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.content == saved.path.read_bytes()


def test_the_thumbnail_is_a_small_jpeg_of_the_same_shape(client: TestClient, saved: SavedPicture) -> None:
    answer = client.get(f"/pictures/{saved.record.id}.jpg")
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, max(image.size)) == ("JPEG", max(SIZE))
    assert image.width / image.height == pytest.approx(336 / 432, abs=0.01)


def test_facts_come_in_the_readers_language(client: TestClient, saved: SavedPicture) -> None:
    for header, title in (("zh-CN", "提示词"), ("en", "Prompt")):
        answer = client.get(f"/pictures/{saved.record.id}.json", headers={"accept-language": header})
        assert answer.json()["rows"][0] == {"title": title, "text": "小船 <i>"}


@pytest.mark.parametrize("name", ["20260101-000000-00000000", "..%2f..%2fetc%2fpasswd", "x", "%00"])
@pytest.mark.parametrize("ending", ["png", "jpg", "json"])
def test_an_unknown_id_is_not_found(client: TestClient, name: str, ending: str) -> None:
    answer = client.get(f"/pictures/{name}.{ending}")
    assert answer.status_code == 404


def test_a_sign_of_life(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "healthy", "service": "Z-Image Progressive Studio"}


def test_a_picture_that_could_not_be_saved_is_served_all_the_same(tmp_path: Path) -> None:
    """C3: the disk is full, and the reader still gets the picture."""
    (tmp_path / f"{datetime.now().astimezone():%Y-%m-%d}").write_text("in the way", encoding="utf-8")
    with closing(QuickStudio(tmp_path)) as studio:
        view = studio.view(studio.submit(quick.quick_request(1), quick.MODEL))
        while view is not None and view.picture is None and not view.ended:
            view = studio.wait(view.id, view.version, 1.0)
        assert view is not None
        picture = view.picture
        assert picture is not None
        client = TestClient(Starlette(routes=picture_routes(studio, "auto")))
        for address in (f"/pictures/{picture.record.id}.png?download", f"/pictures/{picture.record.id}.jpg"):
            answer = client.get(address)
            assert answer.content == picture.unsaved_png
            assert answer.headers["cache-control"] == "no-store"
