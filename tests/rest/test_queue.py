"""The queue over REST: listed, paused, reordered, cancelled in groups; strangers have their own only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.doubles import QuickPageStudio
from zimage_app.rest.app import rest_routes
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.web.credentials import Credentials
from zimage_app.web.middleware import MiddlewareConfig
from zimage_app.web.owner import LOCAL_HEADER, OWNER_HEADER

KEY = "0" * 64


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[QuickPageStudio]:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)) as studio:
        studio.pause_queue(True)
        yield studio


def _caller(studio: QuickPageStudio, **headers: str) -> TestClient:
    config = MiddlewareConfig(
        credentials=Credentials({"anna": "correct horse"} if "auth" in headers else {}, local_key=KEY)
    )
    app = Starlette(routes=rest_routes(studio, "auto"), middleware=config.middleware("auto"))
    names = {name.replace("_", "-"): value for name, value in headers.items() if name != "auth"}
    return TestClient(app, base_url="http://127.0.0.1", headers=names)


def _ask(client: TestClient, **more: object) -> str:
    answer = client.post("/api/generate", json={"prompt": "船", **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def _png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


def test_the_queue_is_listed_paused_and_reordered(client: TestClient) -> None:
    assert client.post("/api/queue/pause").json() == {"paused": True, "running": 0, "waiting": 0, "tasks": []}
    first, second, third = (_ask(client, seed=seed, group="g" if seed else "") for seed in range(3))
    assert client.post(f"/api/generate/{third}/move").json()["ahead"] == 1
    assert client.post(f"/api/generate/{second}/move", params={"first": True}).json()["ahead"] == 0
    queue = client.get("/api/queue").json()
    assert [task["task_id"] for task in queue["tasks"]] == [second, first, third]
    assert [task["group"] for task in queue["tasks"]] == ["g", "", "g"]
    assert queue["tasks"][0]["prompt"] == "船"
    assert client.delete("/api/queue/groups/g").json() == {"cancelled": 2}
    assert client.delete("/api/queue").json() == {"cancelled": 1}
    assert client.get(f"/api/generate/{first}").json()["status"] == "cancelled"
    assert client.post("/api/queue/resume").json()["paused"] is False


def test_a_group_is_a_short_text(client: TestClient) -> None:
    for group in (7, "x" * 65):
        answer = client.post("/api/generate", json={"prompt": "船", "group": group})
        assert (answer.status_code, answer.json()["field"]) == (422, "group")


def test_strangers_have_their_own_queue_and_do_not_pause_it(shared: QuickPageStudio) -> None:
    anna, bert = (_caller(shared, **{OWNER_HEADER: letter * 32}) for letter in "ab")
    mine, theirs = _ask(anna), _ask(bert)
    assert [task["task_id"] for task in anna.get("/api/queue").json()["tasks"]] == [mine]
    assert anna.get("/api/queue").json()["waiting"] == 2
    assert anna.post("/api/queue/resume").status_code == 403
    assert anna.post(f"/api/generate/{theirs}/move").status_code == 404
    assert anna.delete("/api/queue").json() == {"cancelled": 1}
    assert bert.get("/api/queue").json()["tasks"][0]["task_id"] == theirs
    assert _caller(shared).delete("/api/queue").json() == {"cancelled": 0}, "who can't be told from others has nothing"


def test_a_call_for_more_than_may_wait_is_refused_before_any_is_queued(shared: QuickPageStudio) -> None:
    shared.pause_queue(False)
    anna = _caller(shared, **{OWNER_HEADER: "a" * 32})
    answer = anna.post("/api/generate", json={"prompt": "船", "count": 4})
    assert (answer.status_code, answer.json()["field"]) == (422, "count")
    assert answer.json()["detail"] == "count: 4 pictures; at most 3 may wait at once"
    shared.pause_queue(True)
    _ask(anna)
    many = anna.post("/api/generate", json={"prompt": "船", "count": 3})
    assert (many.status_code, "no room for 3 more" in many.json()["detail"]) == (429, True)
    assert len(anna.get("/api/queue").json()["tasks"]) == 1
    assert _ask(anna, count=2)


def test_the_users_own_programs_may_do_anything(shared: QuickPageStudio) -> None:
    theirs = _ask(_caller(shared, **{OWNER_HEADER: "a" * 32}))
    own = _caller(shared, auth="", **{LOCAL_HEADER: KEY})
    assert [task["task_id"] for task in own.get("/api/queue").json()["tasks"]] == [theirs]
    assert own.delete(f"/api/generate/{theirs}").json()["status"] == "cancelled"
    assert own.post("/api/queue/resume").json()["paused"] is False
    for key in ("", "1" * 64):
        assert _caller(shared, auth="", **{LOCAL_HEADER: key}).get("/api/queue").status_code == 401


def test_the_users_own_programs_start_from_pictures_that_they_stored_themselves(shared: QuickPageStudio) -> None:
    """The command line writes into the folder, without an owner's mark."""
    stored = PictureInputs(shared._config.outputs).save(_png("black"), "x").sha256
    own = _caller(shared, auth="", **{LOCAL_HEADER: KEY})
    _ask(own, start={"picture": stored})
    answer = own.post("/api/upscale", json={"picture": stored, "prompt": "x"})
    assert answer.status_code == 200, answer.text
    stranger = _caller(shared, **{OWNER_HEADER: "a" * 32})
    assert stranger.post("/api/generate", json={"prompt": "x", "start": {"picture": stored}}).status_code == 422


def test_start_pictures_of_waiting_tasks_are_known_to_be_needed(shared: QuickPageStudio) -> None:
    own = _caller(shared, auth="", **{LOCAL_HEADER: KEY})
    picture, mask = (shared.inputs.save(_png(colour), "x").sha256 for colour in ("black", "white"))
    task = _ask(own, start={"picture": picture, "mask": mask})
    _ask(own)
    assert shared.inputs.in_use() == {picture, mask}
    own.delete(f"/api/generate/{task}")
    assert shared.inputs.in_use() == set()
