"""A picture's way over REST: asked for, watched, fetched, cancelled, refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.errors import BusyError, GenerationError, RequestError
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text

CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}


def asked(client: TestClient, **settings: Any) -> str:
    """Ask for a picture; gives the task's id."""
    answer = client.post("/api/generate", json={"prompt": "a red boat", "seed": 7} | settings)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def watched(client: TestClient, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a task's stream to its end."""
    with client.stream("GET", f"/api/generate/{task_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        event = ""
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            if name == "data":
                yield event, json.loads(value)


def test_a_picture_is_asked_for_followed_and_fetched(client: TestClient, studio: QuickPageStudio) -> None:
    task_id = asked(client)
    finish(studio, task_id)
    task = client.get(f"/api/generate/{task_id}").json()
    assert (task["status"], task["progress"], task["error"]) == ("completed", 100.0, None)
    assert task["current_step"] == task["total_steps"] == 6
    picture = task["result"]
    assert (picture["prompt"], picture["seed"], picture["model"]) == ("a red boat", 7, "quick")
    file = client.get(picture["download_url"])
    saved = studio.picture(picture["id"])
    assert saved is not None
    assert file.headers["content-type"] == "image/png"
    assert file.content == saved.path.read_bytes()


def test_a_file_that_the_caller_holds_is_not_sent_again(client: TestClient, studio: QuickPageStudio) -> None:
    url = f"/api/download/{asked_picture(client, studio)}"
    file = client.get(url)
    for tags in (file.headers["etag"], f'"x", W/{file.headers["etag"]}', "*"):
        again = client.get(url, headers={"if-none-match": tags})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", file.headers["etag"])
    assert client.get(url, headers={"if-none-match": '"x"'}).content == file.content


def test_head_is_answered_as_get_without_the_body(client: TestClient, studio: QuickPageStudio) -> None:
    picture = asked_picture(client, studio)
    for url in (f"/api/download/{picture}", "/api/history", "/api/openapi.json"):
        got, head = client.get(url), client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    assert client.head("/api/download/nothing").status_code == 404
    for url in ("/api/batch", "/api/generate/x/events"):
        assert client.head(url).status_code == 405


def asked_picture(client: TestClient, studio: QuickPageStudio) -> str:
    """The id of a saved picture."""
    picture = finish(studio, asked(client)).picture
    assert picture is not None
    return picture.record.id


def test_settings_of_a_result_can_be_sent_again(client: TestClient, studio: QuickPageStudio) -> None:
    first = finish(studio, asked(client))
    assert first.picture is not None
    settings = client.get(f"/api/images/{first.picture.record.id}").json()["settings"]
    second = finish(studio, asked(client, **settings))
    assert second.picture is not None
    assert second.picture.record.request == first.picture.record.request


def test_the_stream_tells_every_stage_and_ends_with_the_result(client: TestClient, studio: QuickPageStudio) -> None:
    studio.step_seconds = 0.15
    seen = list(watched(client, asked(client)))
    assert [name for name, _ in seen] == ["progress"] * (len(seen) - 1) + ["end"]
    steps = [data["current_step"] for _, data in seen]
    assert steps == sorted(steps)
    assert sum(bool(data["preview"]) for _, data in seen) >= 2
    assert next(data["preview"] for _, data in seen if data["preview"]).startswith("data:image/jpeg;base64,")
    assert seen[-1][1]["result"]["id"]


def test_stages_are_counted_as_on_the_page(client: TestClient, studio: QuickPageStudio) -> None:
    """With those that are switched off."""
    studio.step_seconds = 0.15
    small = {"width": 64, "height": 64, "steps": 2}
    stages = [small, small | {"enabled": False}, small]
    told = {data["message"].split(" ")[1] for _, data in watched(client, asked(client, stages=stages))}
    assert {"1/3", "3/3"} <= told


def test_the_stream_of_a_task_that_is_over_is_its_end(client: TestClient, studio: QuickPageStudio) -> None:
    task_id = asked(client)
    finish(studio, task_id)
    [(name, data)] = watched(client, task_id)
    assert (name, data["status"]) == ("end", "completed")


def test_a_waiting_task_says_how_many_are_ahead_and_can_be_cancelled(
    client: TestClient, studio: QuickPageStudio
) -> None:
    studio.loading = threading.Event()
    first, second = asked(client), asked(client)
    task = client.get(f"/api/generate/{second}", headers=CHINESE).json()
    assert (task["status"], task["ahead"], task["message"]) == ("pending", 1, "排队中：前面还有 1 个任务")
    for task_id in (second, first):
        assert client.delete(f"/api/generate/{task_id}").status_code == 200
    studio.loading.set()
    for task_id in (first, second):
        assert finish(studio, task_id).state == "cancelled"
        assert client.get(f"/api/generate/{task_id}").json()["message"] == "Stopped"
    assert client.delete(f"/api/generate/{first}").status_code == 200, "what is over stays over"


def test_a_failed_task_says_why_in_the_callers_language(client: TestClient, studio: QuickPageStudio) -> None:
    studio.failure = GenerationError(Text("stage 2 gave no numbers", "第 2 阶段结果无效"))
    task_id = asked(client)
    finish(studio, task_id)
    task = client.get(f"/api/generate/{task_id}", headers=CHINESE).json()
    assert (task["status"], task["error"], task["result"]) == ("failed", "第 2 阶段结果无效", None)


REFUSED: list[tuple[object, str, str, str]] = [
    ({"prompt": ""}, "prompt", "must not be empty", "不能为空"),
    ({}, "prompt", "is missing", "缺少这一项"),
    ({"prompt": "x", "stages": [{"denoise": 3}]}, "stages.0.denoise", "(stage 1) must be at most 1", "不能大于 1"),
    ({"prompt": "x", "modl": "demo"}, "modl", "there is no such setting", "没有这个设置"),
    ({"prompt": "x", "seed": True}, "seed", "must be", "必须"),
    ({"prompt": "x", "seed": 1.5}, "seed", "must be", "必须"),
    ({"prompt": "x\ud800"}, "prompt", "incomplete Unicode character", "残缺字符"),
    ({"prompt": "x", "model": "none"}, "model", "no model none", "没有模型 none"),
    ({"prompt": "x", "model": "\ud800"}, "model", "incomplete Unicode character", "残缺字符"),
    ({"prompt": "x", "model": 3}, "model", "must be text", "必须是文字"),
    ({"prompt": "x", "loras": [{"name": "../../etc/passwd"}]}, "loras", "'../../etc/passwd'", "'../../etc/passwd'"),
    ([1], "request", "must be a group of settings", "必须是一组设置"),
]


@pytest.mark.parametrize(("body", "field", "english", "chinese"), REFUSED)
def test_a_refusal_names_the_field_in_one_sentence(
    body: object, field: str, english: str, chinese: str, client: TestClient
) -> None:
    for headers, words in (({"accept-language": "en"}, english), (CHINESE, chinese)):
        answer = client.post(
            "/api/generate", content=json.dumps(body), headers={**headers, "content-type": "application/json"}
        )
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"prompt": "x", "stages": [{"denoise": NaN}]}']
)
def test_a_body_that_is_no_request_is_refused(content: bytes, client: TestClient) -> None:
    answer = client.post("/api/generate", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


def test_a_body_of_another_kind_is_told_which_kind_is_read(client: TestClient) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/api/generate", content=b'{"prompt": "x"}', headers=kind)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "request: must be sent with content-type: application/json"


def test_the_sentence_is_the_pages(client: TestClient) -> None:
    data = {"prompt": "x", "stages": [{"steps": 0}]}
    with pytest.raises(RequestError) as refused:
        parse_request(data)
    answer = client.post("/api/generate", json=data)
    assert answer.json() == {"detail": str(refused.value), "field": refused.value.field}


@pytest.mark.parametrize(("own", "status"), [(True, 429), (False, 503)])
def test_too_much_at_once_says_when_to_come_back(
    own: bool, status: int, client: TestClient, studio: QuickPageStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> list[str]:
        raise BusyError(Text("3 of your pictures are waiting", "你已有 3 个任务在排队"), 12.4, own=own)

    monkeypatch.setattr(studio, "submit_group", full)
    answer = client.post("/api/generate", json={"prompt": "x"}, headers=CHINESE)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "12")
    assert answer.json()["detail"] == "你已有 3 个任务在排队"


def test_what_goes_wrong_inside_shows_no_trace(
    studio: QuickPageStudio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr(studio, "queue", broken)
    quiet = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = quiet.get("/api/system/status")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["detail"].startswith("Something went wrong inside the app")


def test_where_each_visitor_borrows_a_gpu_a_call_is_sent_to_the_page(
    client: TestClient, studio: QuickPageStudio
) -> None:
    studio.borrows_gpu = True
    answer = client.post("/api/generate", json={"prompt": "a boat"}, headers=CHINESE)
    assert answer.status_code == 501
    assert "gradio_client" in answer.json()["detail"]
    assert studio.current("") is None


def test_unknown_tasks_addresses_and_methods(client: TestClient) -> None:
    for method, path, status in [
        ("GET", "/api/generate/nobody", 404),
        ("DELETE", "/api/generate/nobody", 404),
        ("GET", "/api/generate/nobody/events", 404),
        ("GET", "/api/nothing", 404),
        ("PUT", "/api/generate", 405),
    ]:
        answer = client.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()) == {"detail", "field"}


def test_a_whole_number_may_be_written_with_a_point(client: TestClient) -> None:
    assert client.post("/api/generate", json={"prompt": "x", "seed": 4092.0}).status_code == 200
    assert client.post("/api/generate", json={"prompt": "x", "seed": 4092.5}).json()["field"] == "seed"


@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
def test_all_methods_of_an_address_are_named(client: TestClient, method: str) -> None:
    answer = client.request(method, "/api/generate/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


@pytest.mark.parametrize("day", ["0", "20260131", "2026-1-31", "2026-01-31T00:00:00"])
def test_a_day_is_written_as_the_schema_says(client: TestClient, day: str) -> None:
    answer = client.get("/api/history", params={"day": day})
    assert (answer.status_code, answer.json()["field"]) == (422, "day")
