"""A picture to start from, over REST."""

from __future__ import annotations

import io
import threading
from collections import Counter

import anyio
import anyio.to_thread
import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.loops import run_async
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.rest.app import rest_routes
from zimage_app.service.pictures.decoding import Decoded, DecodeOptions


def test_a_picture_is_handed_in_and_started_from(client: TestClient, studio: QuickPageStudio) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(buffer, "WEBP")
    kept = client.post("/api/inputs", content=buffer.getvalue())
    assert (kept.status_code, kept.json()["width"], kept.json()["height"]) == (200, 60, 40)
    start = {"picture": kept.json()["picture"], "stage": 2}
    asked = client.post("/api/generate", json={"prompt": "boat", "start": start})
    assert asked.status_code == 200
    picture = finish(studio, asked.json()["task_id"]).picture
    assert picture is not None
    assert [stage.number for stage in picture.record.stages] == [1]
    assert picture.record.request.start is not None


def test_what_cannot_be_started_from_is_named(client: TestClient) -> None:
    refused = client.post("/api/inputs", content=b"milk")
    assert refused.status_code == 422
    assert "picture is not a picture that can be read" in refused.json()["detail"]
    gone = client.post("/api/generate", json={"prompt": "boat", "start": {"picture": "0" * 64}})
    assert (gone.status_code, gone.json()["field"]) == (422, "start.picture")


def test_part_of_a_picture_is_redrawn(client: TestClient, studio: QuickPageStudio) -> None:
    def hand_in(image: Image.Image) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return str(client.post("/api/inputs", content=buffer.getvalue()).json()["picture"])

    mask = Image.new("L", (60, 40))
    start = {"picture": hand_in(Image.new("RGB", (60, 40), "red")), "stage": 2, "mask": hand_in(mask)}
    refused = client.post("/api/generate", json={"prompt": "boat", "start": start})
    assert (refused.status_code, refused.json()["field"]) == (422, "start.mask")
    assert "black all over" in refused.json()["detail"]
    mask.paste(255, (10, 10, 30, 30))
    start |= {"mask": hand_in(mask), "feather": 4, "differential": 0.5, "paste": False}
    asked = client.post("/api/generate", json={"prompt": "boat", "start": start})
    assert asked.status_code == 200
    picture = finish(studio, asked.json()["task_id"]).picture
    assert picture is not None
    assert picture.record.request.start is not None
    assert picture.record.request.start.model_dump() == start | {
        "fit": "crop",
        "upscaler": None,
        "extend": (0, 0, 0, 0),
    }


def test_others_are_answered_while_masks_are_read(studio: QuickPageStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(image: Image.Image) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return studio.inputs.save(buffer.getvalue(), "x").sha256

    masks = [kept(Image.new("L", (8, 8), grey)) for grey in range(100, 145)]
    picture, go, begun = kept(Image.new("RGB", (8, 8))), threading.Event(), threading.Semaphore(0)
    statuses: Counter[int] = Counter()

    def slow(data: bytes, wanted: DecodeOptions) -> Decoded:
        assert wanted.mask, data
        begun.release()
        go.wait(60)
        return Decoded(8, 8, bytes([255]) * 192)

    monkeypatch.setattr("zimage_app.service.generation.start_pictures.decode", slow)

    async def crowd() -> None:
        transport = httpx.ASGITransport(Starlette(routes=rest_routes(studio, "auto")))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
            anyio.create_task_group() as tasks,
        ):

            async def ask(mask: str) -> None:
                order = {"prompt": "boat", "start": {"picture": picture, "mask": mask, "stage": 2}}
                statuses[(await client.post("/api/generate", json=order)).status_code] += 1

            for mask in masks:
                tasks.start_soon(ask, mask)
            for _ in range(4):
                await anyio.to_thread.run_sync(begun.acquire, limiter=anyio.CapacityLimiter(1))
            assert (await client.get("/api/models")).status_code == 200
            while statuses[503] < len(masks) - 4:
                await anyio.sleep(0.01)
            assert not go.is_set()
            go.set()

    run_async(crowd())
    assert statuses == {200: 4, 503: 41}
