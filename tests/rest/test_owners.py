"""X1 over REST: on a shared address everybody has their own tasks and pictures, at home there is one owner of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.rest.test_tasks import asked
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.rest.app import rest_routes
from zimage_app.web.credentials import Credentials
from zimage_app.web.middleware import MiddlewareConfig
from zimage_app.web.owner import OWNER_COOKIE, OWNER_HEADER

ANNA, BERT = "a" * 32, "b" * 32
KEY = "key-0123456789abcdef"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[QuickPageStudio]:
    """A studio that strangers use."""
    studio = QuickPageStudio(tmp_path, step_seconds=0.005, shared=True)
    yield studio
    studio.close()


def caller(studio: QuickPageStudio, owner: str = "", credentials: Credentials | None = None) -> TestClient:
    app = Starlette(
        routes=rest_routes(studio, "auto"),
        middleware=MiddlewareConfig(credentials=credentials or Credentials()).middleware("auto"),
    )
    return TestClient(app, base_url="http://127.0.0.1", headers={OWNER_HEADER: owner} if owner else {})


def everything_of(client: TestClient, task_id: str, picture_id: str) -> list[int]:
    """The statuses of all that can be asked about somebody's task and picture."""
    return [
        client.get(f"/api/generate/{task_id}").status_code,
        client.get(f"/api/generate/{task_id}/events").status_code,
        client.delete(f"/api/generate/{task_id}").status_code,
        client.get(f"/api/images/{picture_id}").status_code,
        client.get(f"/api/download/{picture_id}").status_code,
    ]


def test_strangers_see_nothing_of_each_other(shared: QuickPageStudio) -> None:
    anna = caller(shared, ANNA)
    task_id = asked(anna, prompt="annas secret")
    picture = finish(shared, task_id).picture
    assert picture is not None
    picture_id = picture.record.id
    assert everything_of(anna, task_id, picture_id) == [200] * 5
    assert anna.get("/api/images/latest").json()["prompt"] == "annas secret"
    for stranger in (caller(shared, BERT), caller(shared)):
        assert everything_of(stranger, task_id, picture_id) == [404] * 5
        assert stranger.get("/api/images/latest").status_code == 404
        assert stranger.get("/api/history").json()["total"] == 0
        assert stranger.get("/api/history", params={"search": "secret"}).json()["images"] == []
    assert anna.get("/api/history").json()["total"] == 1


def test_a_stranger_can_stop_no_task_of_others(shared: QuickPageStudio) -> None:
    shared.step_seconds = 0.05
    task_id = asked(caller(shared, ANNA))
    assert caller(shared, BERT).delete(f"/api/generate/{task_id}").status_code == 404
    assert finish(shared, task_id).state == "done"


def test_who_comes_without_an_id_is_given_one(shared: QuickPageStudio) -> None:
    stranger = caller(shared)
    answer = stranger.post("/api/generate", json={"prompt": "x"})
    owner = answer.headers[OWNER_HEADER]
    task_id = answer.json()["task_id"]
    assert stranger.cookies[OWNER_COOKIE] == owner
    assert stranger.get(f"/api/generate/{task_id}").status_code == 200, "the cookie tells"
    assert caller(shared, owner).get(f"/api/generate/{task_id}").status_code == 200, "so does the header"
    assert caller(shared).get(f"/api/generate/{task_id}").status_code == 404


def test_an_owners_id_may_have_capitals_and_nothing_else_is_taken_for_one(shared: QuickPageStudio) -> None:
    capital = caller(shared, "AbCdEf01" * 4)
    task_id = asked(capital)
    assert OWNER_HEADER not in capital.get("/api/queue").headers
    assert caller(shared, "abcdef01" * 4).get(f"/api/generate/{task_id}").status_code == 200
    for wrong in ("nobody's id", "a" * 31, "g" * 32):
        answer = caller(shared, wrong).post("/api/generate", json={"prompt": "x"})
        assert (answer.status_code, answer.json()["field"]) == (422, "X-Studio-Owner")
        assert answer.json()["detail"].startswith("X-Studio-Owner: must be 32 hexadecimal digits")


def test_the_page_and_rest_know_a_visitor_by_the_same_cookie(shared: QuickPageStudio) -> None:
    task_id = asked(caller(shared, ANNA))
    browser = caller(shared)
    browser.cookies.set(OWNER_COOKIE, ANNA)
    assert browser.get(f"/api/generate/{task_id}").status_code == 200


def test_the_holder_of_the_key_finds_everything_again(shared: QuickPageStudio) -> None:
    credentials = Credentials(api_key=KEY)
    program = caller(shared, credentials=credentials)
    program.headers["x-api-key"] = KEY
    task_id = asked(program)
    again = caller(shared, credentials=credentials)
    again.headers["authorization"] = f"Bearer {KEY}"
    assert again.get(f"/api/generate/{task_id}").status_code == 200
    assert caller(shared).get(f"/api/generate/{task_id}").status_code == 404


def test_at_home_one_person_owns_all(studio: QuickPageStudio) -> None:
    task_id = asked(caller(studio, ANNA), prompt="from the page")
    picture = finish(studio, task_id).picture
    assert picture is not None
    studio.history.refresh()
    program = caller(studio)
    assert everything_of(program, task_id, picture.record.id) == [200] * 5
    assert program.get("/api/images/latest").json()["prompt"] == "from the page"


def test_an_owners_id_is_in_no_answer_and_no_file(shared: QuickPageStudio, tmp_path: Path) -> None:
    anna = caller(shared, ANNA)
    task_id = asked(anna)
    picture = finish(shared, task_id).picture
    assert picture is not None
    shared.history.refresh()
    for path in (f"/api/generate/{task_id}", f"/api/images/{picture.record.id}", "/api/history"):
        assert ANNA not in anna.get(path).text
    shared.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ANNA.encode() in path.read_bytes()]
