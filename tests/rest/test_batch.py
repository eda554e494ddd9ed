"""A batch over REST: one group, all of it or nothing."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.ui.doubles import QuickPageStudio, finish


def test_a_batch_is_one_group_of_tasks(client: TestClient, studio: QuickPageStudio) -> None:
    body = {
        "persona": {"name": "小美", "trigger_word": "xiaomei", "mood": "calm"},
        "tweets": [{"id": "a", "image_prompt": "red"}, {"scene_hint": "blue", "stages.0.steps": 1}],
        "seed": 5,
    }
    planned = client.post("/api/batch", json=body | {"dry_run": True}).json()
    assert [(task["prompt"], task["seed"], task["task_id"]) for task in planned["tasks"]] == [
        ("xiaomei, red", 5, None),
        ("xiaomei, blue", 6, None),
    ]
    assert client.get("/api/groups").json() == []
    answer = client.post("/api/batch", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(task["index"], task["id"]) for task in told["tasks"]] == [(1, "a"), (2, "2")]
    assert told["notes"] == ["persona: not used: mood"]
    pictures = [finish(studio, task["task_id"]).picture for task in told["tasks"]]
    requests = [picture.record.request for picture in pictures if picture]
    assert [(each.full_prompt, each.seed) for each in requests] == [("xiaomei, red", 5), ("xiaomei, blue", 6)]
    (group,) = client.get("/api/groups").json()
    assert (group["id"], group["kind"], group["total"]) == (told["id"], "batch", 2)
    studio.pause_queue(True)
    waiting = client.post("/api/batch", json={"items": ["x", "y", "z"]}).json()
    assert client.delete(f"/api/queue/groups/{waiting['group']}").json() == {"cancelled": 3}


def test_what_is_wrong_is_told_at_once_and_nothing_is_queued(client: TestClient, studio: QuickPageStudio) -> None:
    answer = client.post("/api/batch", json={"items": ["x", {"prompt": "y", "stages.0.cfg": 99}, {"colour": "z"}]})
    assert answer.status_code == 422
    first, second = answer.json()["detail"].splitlines()
    assert first.startswith("items: entry 2, stages.0.cfg: 99")
    assert second.startswith("entry 3, prompt: is missing")
    assert studio.queue().waiting == 0
    assert client.post("/api/batch", json={}).status_code == 422
    assert client.post("/api/batch", json={"items": ["x"], "model": "none"}).json()["field"] == "model"
