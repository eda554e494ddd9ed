"""A batch over REST: one group, all of it or nothing."""

from __future__ import annotations

from typing import Any

import pytest
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
    for body, field, words in [
        ({}, "items", "items: is missing; give a list of prompts or settings, or tweets with their persona"),
        ({"persona": {}}, "items", "items: is missing"),
        ({"items": ["x"], "tweets": ["y"]}, "tweets", "tweets: leave out either it or items"),
        ({"items": ["x"], "persona": {}}, "persona", "persona: leave out either it or items"),
        ({"tweets": [{"colour": "z"}]}, "tweets", "tweets: entry tweets.1"),
    ]:
        told = client.post("/api/batch", json=body)
        assert (told.status_code, told.json()["field"]) == (422, field)
        assert told.json()["detail"].startswith(words)
    assert client.post("/api/batch", json={"items": ["x"], "model": "none"}).json()["field"] == "model"


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({"settings": {"seed": 42}}, [42, 43]),
        ({"settings": {"seed": 42}, "seed": 7}, [7, 8]),
        ({"settings": {"seed": 42}, "seed_mode": "fixed"}, [42, 42]),
        ({"seed": 0}, [0, 1]),
    ],
)
def test_the_seed_is_the_bodys_else_that_of_its_settings(
    body: dict[str, Any], seeds: list[int], client: TestClient
) -> None:
    told = client.post("/api/batch", json={"items": ["a", "b"], "dry_run": True} | body).json()
    assert [task["seed"] for task in told["tasks"]] == seeds


@pytest.mark.parametrize("seed", [-1, None])
def test_a_seed_may_be_drawn_as_for_one_picture(seed: int | None, client: TestClient) -> None:
    item, persona = {"prompt": "x", "seed": seed}, {"trigger_word": "y", "seed": seed}
    bodies: list[dict[str, Any]] = [
        {"items": ["x", item], "settings": {"seed": seed}, "seed": seed},
        {"tweets": [{"image_prompt": "x", "seed": seed}, {"image_prompt": "x"}], "persona": persona},
    ]
    for body in bodies:
        answer = client.post("/api/batch", json=body | {"dry_run": True})
        assert answer.status_code == 200, answer.text
        assert len({task["seed"] for task in answer.json()["tasks"]}) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            rb'{"items": [{"prompt": "x", "id": "a\ud800"}, "y"]}',
            "entry 1, id: contains an incomplete Unicode character",
        ),
        (
            rb'{"items": [{"prompt": "x", "text": "\ud800"}, "y"]}',
            "entry 1, text: contains an incomplete Unicode character",
        ),
        (rb'{"items": [{"prompt": "x", "triggers": "abc", "trigger_word": "y"}]}', "triggers: must be a list"),
        (rb'{"items": ["x"], "settings": {"seed": true}}', "seed: true must be"),
        (rb'{"items": ["x"], "settings": {"colour": 1}}', "colour: there is no such setting"),
    ],
)
def test_what_no_group_can_hold_is_refused_and_nothing_is_queued(
    body: bytes, words: str, client: TestClient, studio: QuickPageStudio
) -> None:
    answer = client.post("/api/batch", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    assert studio.queue().waiting == 0


def test_null_is_as_if_left_out(client: TestClient) -> None:
    nulls = {"triggers": None, "loras": None, "stages": None}
    item = {"prompt": "x", "trigger_word": "y", "size": "1:1", **nulls}
    answer = client.post("/api/batch", json={"items": [item], "settings": nulls, "dry_run": True})
    assert [task["prompt"] for task in answer.json()["tasks"]] == ["y, x"]
