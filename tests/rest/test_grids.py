"""Grids over REST: planned, queued as one group, kept, and laid out by the app when the last cell ends."""

from __future__ import annotations

import io
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.quick import PATIENCE
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.rest.app import rest_routes

GRID = {"prompt": "a red boat", "x": "stages.1.denoise=0.4..0.6/0.1", "y": "seed=1,2"}


def finished(client: TestClient, group_id: str) -> dict[str, Any]:
    """Wait until a group has all its files."""
    end = time.monotonic() + PATIENCE
    while not (group := client.get(f"/api/groups/{group_id}").json())["finished"]:
        assert time.monotonic() < end, group
        time.sleep(0.02)
    return dict(group)


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(client: TestClient, studio: QuickPageStudio) -> None:
    answer = client.post("/api/grid", json=GRID | {"dry_run": True})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["id"], told["group"], told["pictures"]) == (None, None, 6)
    assert {cell["task_id"] for cell in told["cells"]} == {None}
    assert [(cell["column"], cell["row"], cell["seed"]) for cell in told["cells"]][:4] == [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (1, 2, 2),
    ]
    # The first stage has 2 x 3 evaluations, and is run once for each seed; the second one has no more in any cell.
    assert told["saved_evaluations"] == 4 * 6
    assert told["evaluations"] > told["saved_evaluations"]
    assert told["labels"] == [
        [f"Stage 2: Denoise = {value}" for value in (0.4, 0.5, 0.6)],
        ["Seed = 1", "Seed = 2"],
        [""],
    ]
    assert studio.queue().waiting == 0
    assert client.get("/api/groups").json() == []
    for seed in (-1, None):
        answer = client.post("/api/grid", json={**GRID, "y": None, "settings": {"seed": seed}, "dry_run": True})
        assert len({cell["seed"] for cell in answer.json()["cells"]}) == 1, answer.text


def test_a_grid_is_a_group_with_cells_sheet_page_and_manifest(client: TestClient, studio: QuickPageStudio) -> None:
    axes = {"x": {"name": "stages.1.denoise", "values": [0.4, 0.6]}, "y": "prompt~red=红,black"}
    told = client.post("/api/grid", json={"prompt": "a red boat", **axes}, headers={"accept-language": "zh"}).json()
    records = [finish(studio, cell["task_id"]).picture for cell in told["cells"]]
    assert [each.record.request.prompt for each in records if each] == ["a 红 boat"] * 2 + ["a black boat"] * 2
    assert len({each.record.request.seed for each in records if each}) == 1
    group = finished(client, told["id"])
    assert (group["total"], group["done"], group["failed"]) == (4, 4, 0)
    assert [each["name"] for each in group["files"]] == ["sheet-1.png", "index.html", "manifest.jsonl"]
    files = {each["name"]: client.get(each["download_url"]) for each in group["files"]}
    assert Image.open(io.BytesIO(files["sheet-1.png"].content)).width > 2 * 336
    assert "第 2 阶段" in files["index.html"].text
    assert files["manifest.jsonl"].text.count('"done"') == 4
    cell = client.get(f"/api/groups/{told['id']}/x2-y1-z1.png")
    assert cell.content == records[1].read()  # type: ignore[union-attr]
    for name in ("group.json", ".open", "x9-y1-z1.png"):
        assert client.get(f"/api/groups/{told['id']}/{name}").status_code == 404
    assert client.delete(f"/api/groups/{told['id']}").status_code == 200
    assert client.get(f"/api/groups/{told['id']}").status_code == 404
    assert len(client.get("/api/history").json()["images"]) == 4, "the pictures stay"


def test_what_was_cancelled_leaves_its_cells_empty(client: TestClient, studio: QuickPageStudio) -> None:
    studio.pause_queue(True)
    told = client.post("/api/grid", json=GRID).json()
    assert client.delete(f"/api/groups/{told['id']}").status_code == 503
    client.delete(f"/api/generate/{told['cells'][1]['task_id']}")
    studio.pause_queue(False)
    for cell in told["cells"]:
        finish(studio, cell["task_id"])
    group = finished(client, told["id"])
    assert (group["done"], group["cancelled"]) == (5, 1)
    assert client.get(f"/api/groups/{told['id']}/sheet-1.png").status_code == 200


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"x": "stages.0.cfg=1,99"}, "x", "x: stages.0.cfg: 99"),
        ({"x": "seed=1", "y": "stages.7.cfg=1"}, "y", "there is no entry 7"),
        ({"x": "seed=1", "z": "denoise=1"}, "z", "z: denoise"),
        ({"x": "steps"}, "x", "write NAME=VALUE"),
        ({"x": "prompt~dog=cat"}, "x", "doesn't hold dog"),
        ({"x": "preset=none"}, "x", "none"),
        ({"x": "lora=none-such=1"}, "x", "none-such"),
        ({"x": "seed=1..30", "y": "variation_strength=0..1/0.05"}, "axes", "630 cells; at most 400"),
        ({"x": "seed=1", "model": "none"}, "model", "none"),
        ({"x": "seed=1", "settings": {"negative": 5}}, "negative", "negative"),
        ({"prompt": "a" * 8001, "x": "seed=1"}, "prompt", "at most 8000 characters"),
        ({"x": {"name": "prompt~a", "values": ["b", "b" * 8001]}}, "x", "may have at most 8000 characters"),
        ({"prompt": "a" * 8000, "x": {"name": "prompt~a", "values": ["b" * 8000]}}, "x", "64000000 characters"),
        ({"x": {"name": "prompt~", "values": ["b"]}}, "x", "name the word"),
        ({"x": "size=3:4", "settings": {"stages": "abc"}}, "x", "stages: must be a list"),
        ({"x": "lora=ink", "settings": {"loras": "abc"}}, "x", "loras: must be a list"),
    ],
)
def test_what_is_wrong_names_the_axis(
    body: dict[str, Any], field: str, words: str, client: TestClient, studio: QuickPageStudio
) -> None:
    answer = client.post("/api/grid", json={"prompt": "a boat", **body})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert words in answer.json()["detail"]
    assert studio.queue().waiting == 0


@pytest.mark.parametrize("axis", ["size=3:4,1:1", "lora=none", "seed=1,2"])
def test_a_list_that_is_null_is_as_if_left_out(axis: str, client: TestClient) -> None:
    body = {"prompt": "a boat", "x": axis, "settings": {"stages": None, "loras": None, "triggers": None}}
    answer = client.post("/api/grid", json=body | {"dry_run": True})
    assert answer.status_code == 200, answer.text


def test_strangers_have_their_own_groups_and_limits(tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)) as studio:
        app = Starlette(routes=rest_routes(studio, "auto"))
        mine, other = (TestClient(app, base_url="http://127.0.0.1") for _ in range(2))
        answer = mine.post("/api/grid", json=GRID)
        assert (answer.status_code, "at most 3" in answer.text) == (422, True)
        told = mine.post("/api/grid", json=GRID | {"y": None}).json()
        assert finished(mine, told["id"])["done"] == 3
        assert [each["id"] for each in mine.get("/api/groups").json()] == [told["id"]]
        assert other.get("/api/groups").json() == []
        assert other.get(f"/api/groups/{told['id']}/sheet-1.png").status_code == 404
