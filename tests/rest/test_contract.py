"""A program that was written for another web API of this kind: it knows no field beside the contract's."""

from __future__ import annotations

import io
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from tests.service.quick import PATIENCE
from tests.ui.doubles import QUICK, QuickPageStudio
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus, NvidiaGpus
from zimage_app.service.diagnostics.monitor import Monitor
from zimage_app.service.jobs.store import JobStore

BODY = {
    "prompt": "一只橘猫坐在窗台上",
    "height": 864,
    "width": 672,
    "num_inference_steps": 8,
    "use_gpu": True,
    "seed": 42,
}
TASK = {"task_id", "status", "progress", "total_steps", "current_step", "message", "result", "error"}
PICTURE = {
    "id": str,
    "filename": str,
    "prompt": str,
    "width": int,
    "height": int,
    "num_inference_steps": int,
    "use_gpu": bool,
    "size_bytes": int,
    "created_at": str,
    "generation_time_ms": int,
    "download_url": str,
}


class ExistingClient:
    """Makes a picture as such programs do: post, poll, download."""

    def __init__(self, http: TestClient) -> None:
        self._http = http

    def post(self, **body: Any) -> Any:
        """The task's id."""
        answer = self._http.post("/api/generate", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["task_id"]

    def poll(self, task_id: str) -> tuple[dict[str, Any], list[str]]:
        """The task at its end, and the states that it was seen in."""
        seen: list[str] = []
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self._http.get(f"/api/generate/{task_id}")
            assert answer.status_code == 200
            task = answer.json()
            assert set(task) >= TASK
            assert 0 <= task["progress"] <= 100
            if task["status"] not in seen:
                seen.append(task["status"])
            if task["status"] in ("completed", "failed"):
                return task, seen
            time.sleep(0.01)
        raise TimeoutError(task_id)

    def picture(self, **body: Any) -> dict[str, Any]:
        """The result of a body."""
        task, _ = self.poll(self.post(**body))
        assert task["status"] == "completed", task
        result: dict[str, Any] = task["result"]
        assert {name: type(result[name]) for name in PICTURE} == PICTURE
        return result


@pytest.fixture
def program(client: TestClient) -> ExistingClient:
    return ExistingClient(client)


def test_a_picture_as_an_existing_program_makes_it(
    program: ExistingClient, client: TestClient, studio: QuickPageStudio
) -> None:
    assert client.get("/api/images/latest").status_code == 404
    studio.step_seconds = 0.05
    task, seen = program.poll(program.post(**BODY))
    assert seen[-2:] == ["processing", "completed"]
    assert set(seen) <= {"pending", "processing", "completed"}
    assert (task["progress"], task["total_steps"], task["current_step"], task["error"]) == (100.0, 8, 8, None)
    result = task["result"]
    told = {name: result[name] for name in ("prompt", "width", "height", "num_inference_steps", "use_gpu")}
    assert told == {name: BODY[name] for name in told} | {"use_gpu": False}, "the best device here is the CPU"
    assert datetime.fromisoformat(result["created_at"]).tzinfo
    assert result["generation_time_ms"] > 0
    png = client.get(result["download_url"])
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert result["download_url"] == f"/api/download/{result['id']}"
    assert len(png.content) == result["size_bytes"]
    assert Image.open(io.BytesIO(png.content)).size == (672, 864)
    studio.history.refresh()
    history = client.get("/api/history?page=1&page_size=20").json()
    assert (history["total"], history["page"], history["page_size"]) == (1, 1, 20)
    listed = {name: history["images"][0][name] for name in PICTURE}
    assert listed == {name: result[name] for name in PICTURE}
    assert client.get("/api/history?page=2&page_size=20").json()["images"] == []
    assert {name: client.get("/api/images/latest").json()[name] for name in PICTURE} == listed


def test_the_prompt_alone_is_enough_and_sizes_bring_all_stages_along(program: ExistingClient) -> None:
    usual = program.picture(prompt="x")
    last = QUICK.stages[-1]
    assert (usual["width"], usual["height"], usual["num_inference_steps"]) == (last.width, last.height, 6)
    result = program.picture(prompt="x", width=1024, height=512)
    stages = result["settings"]["stages"]
    assert [(stage["width"], stage["height"]) for stage in stages] == [(528, 272), (1024, 512)]
    assert result["num_inference_steps"] == 6
    assert program.picture(prompt="x", width=512)["height"] == last.height


def test_what_is_left_empty_is_left_out(program: ExistingClient) -> None:
    nothing = dict.fromkeys(("width", "height", "num_inference_steps", "use_gpu", "seed"))
    assert program.picture(prompt="x", **nothing)["width"] == QUICK.stages[-1].width
    assert program.picture(prompt="x", seed=-1)["seed"] >= 0


def test_on_the_cpu_without_a_size_the_picture_is_small_and_that_is_said(client: TestClient) -> None:
    program = ExistingClient(client)
    answer = client.post("/api/generate", json={"prompt": "x", "use_gpu": False}).json()
    assert "512 x 512" in answer["notes"][0]
    result = program.poll(answer["task_id"])[0]["result"]
    assert (result["width"], result["height"]) == (512, 512)
    steps = {"prompt": "x", "use_gpu": False, "num_inference_steps": 2}
    result = program.poll(client.post("/api/generate", json=steps).json()["task_id"])[0]["result"]
    assert (result["width"], result["height"]) == (512, 512)
    given = client.post("/api/generate", json={"prompt": "x", "use_gpu": False, "width": 672}).json()
    assert given["notes"] == []


class OneGpu(NvidiaGpus):
    """A machine with a GPU."""

    def all(self) -> tuple[GpuStatus, ...]:
        """See ``NvidiaGpus``."""
        return (GpuStatus("RTX", 0.255, Amount(3 * 2**30, 12 * 2**30), 61),)


def test_where_there_is_a_gpu_of_any_maker_a_picture_can_be_kept_off_it(
    client: TestClient, studio: QuickPageStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zimage_app.models.device.best_device", lambda: torch.device("mps"))
    studio.pause_queue(True)
    ids = [client.post("/api/generate", json=BODY | {"use_gpu": use}).json()["task_id"] for use in (True, False)]
    store = JobStore(tmp_path / "outputs" / ".state")
    store.refresh()
    found = [store.find(task_id) for task_id in ids]
    store.close()
    assert [job.device for job in found if job] == ["", "cpu"]
    studio.shared = True
    refused = client.post("/api/generate", json=BODY | {"use_gpu": False})
    assert refused.status_code == 403
    monkeypatch.undo()
    assert client.post("/api/generate", json=BODY | {"use_gpu": False}).is_success, "nothing changes on the CPU"
    studio.shared = False


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"height": 255}, "height"),
        ({"width": 2064}, "width"),
        ({"width": 700}, "width"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 51}, "num_inference_steps"),
        ({"num_inference_steps": 8, "stages": [{}]}, "num_inference_steps"),
        ({"use_gpu": "yes"}, "use_gpu"),
        ({"seed": -2}, "seed"),
    ],
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, Any], field: str, client: TestClient) -> None:
    answer = client.post("/api/generate", json=BODY | change)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_failure_and_an_unknown_task(client: TestClient) -> None:
    assert client.get("/api/generate/none").status_code == 404
    assert client.get("/api/generate/none").json()["detail"]
    assert client.get("/api/download/none").status_code == 404


def test_the_machine_in_gigabytes_and_percent(client: TestClient, studio: QuickPageStudio, tmp_path: Path) -> None:
    status = client.get("/api/system/status").json()
    assert set(status["cpu"]) == {"usage_percent", "cores", "frequency_mhz"}
    assert set(status["memory"]) == {"total_gb", "used_gb", "available_gb", "usage_percent"}
    assert set(status["disk"]) == {"path", "total_gb", "used_gb", "free_gb", "usage_percent"}
    assert status["disk"]["path"] == str(tmp_path / "outputs")
    assert 0 < status["memory"]["used_gb"] < status["memory"]["total_gb"]
    assert datetime.fromisoformat(status["timestamp"]).tzinfo
    studio.monitor = Monitor(tmp_path, nvidia=OneGpu())
    assert client.get("/api/system/status").json()["gpu"] == {
        "available": True,
        "name": "RTX",
        "memory_total_gb": 12.0,
        "memory_used_gb": 3.0,
        "usage_percent": 25.5,
        "temperature": 61,
    }


def test_several_pictures_of_one_request_are_a_group_with_seeds_that_count_up(
    client: TestClient, studio: QuickPageStudio
) -> None:
    answer = client.post("/api/generate", json={"prompt": "x", "count": 3, "seed": 5}).json()
    assert answer["task_id"] == answer["task_ids"][0]
    program = ExistingClient(client)
    assert [program.poll(task_id)[0]["result"]["seed"] for task_id in answer["task_ids"]] == [5, 6, 7]
    studio.pause_queue(True)
    waiting = client.post("/api/generate", json={"prompt": "x", "count": 3}).json()
    assert client.delete(f"/api/queue/groups/{waiting['group']}").json() == {"cancelled": 3}
    assert client.post("/api/generate", json={"prompt": "x", "count": 101}).json()["field"] == "count"
