"""L1, L4 and C6 over REST: nothing is mixed up, status is told meanwhile, and watchers leave nothing behind."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ui.conftest import served
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.service.jobs.view import JobView

DROPPED = 50


class Counted(QuickPageStudio):
    """Counts how often it is asked how a job is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, step_seconds=0.0)
        self.looks = itertools.count()
        self.seen = 0

    def view(self, job_id: str) -> JobView | None:
        self.seen = next(self.looks)
        return super().view(job_id)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Counted]:
    studio = Counted(tmp_path)
    yield studio
    studio.settle()
    studio.close()


def until_quiet(studio: Counted) -> None:
    """Until nobody asks any more."""
    for _ in range(100):
        before = studio.seen
        time.sleep(0.4)
        if studio.seen == before:
            return
    pytest.fail("somebody still watches a job")


def test_c6_watchers_that_go_away_leave_nothing_behind(studio: Counted) -> None:
    studio.loading = threading.Event()
    with served(studio) as address, httpx.Client(base_url=f"{address}api", timeout=60) as client:
        task_id = client.post("/generate", json={"prompt": "x"}).json()["task_id"]
        for _ in range(DROPPED):
            with client.stream("GET", f"/generate/{task_id}/events") as stream:
                assert next(stream.iter_lines()).startswith("event: progress")
        until_quiet(studio)
        assert studio.view(task_id) is not None
        studio.loading.set()
        assert finish(studio, task_id).state == "done", "the picture doesn't hang on who watches"
        assert client.get(f"/generate/{task_id}").json()["status"] == "completed"


def test_l1_many_programs_get_their_own_pictures(studio: Counted) -> None:
    wrong: list[str] = []

    def program(number: int, address: str) -> None:
        with httpx.Client(base_url=f"{address}api", timeout=60) as client:
            for turn in range(3):
                prompt, seed = f"program {number}, picture {turn}", 100 * number + turn
                task_id = client.post("/generate", json={"prompt": prompt, "seed": seed}).json()["task_id"]
                with client.stream("GET", f"/generate/{task_id}/events") as stream:
                    ends = [line for line in stream.iter_lines() if '"state":"done"' in line]
                picture = json.loads(ends[-1].removeprefix("data: "))["result"]
                file = client.get(picture["download_url"].removeprefix("/api")).content
                if (picture["prompt"], picture["seed"]) != (prompt, seed) or prompt.encode() not in file:
                    wrong.append(prompt)

    with served(studio) as address:
        threads = [threading.Thread(target=program, args=(number, address)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert httpx.get(f"{address}api/history").json()["total"] == 24


def test_l4_status_is_told_while_pictures_are_made(studio: Counted) -> None:
    studio.step_seconds = 0.2
    with served(studio) as address, httpx.Client(base_url=f"{address}api", timeout=60) as client:
        tasks = [client.post("/generate", json={"prompt": "x", "seed": seed}).json()["task_id"] for seed in range(3)]
        told: dict[str, list[tuple[str, float]]] = {task_id: [] for task_id in tasks}
        while any(not each or each[-1][0] != "done" for each in told.values()):
            for task_id, each in told.items():
                task = client.get(f"/generate/{task_id}").json()
                each.append((task["state"], task["progress"]))
        for each in told.values():
            progress = [percent for _, percent in each]
            assert progress == sorted(progress)
            order = ["waiting", "loading", "running", "saving", "done"]
            states = [order.index(state) for state, _ in each]
            assert states == sorted(states)
            assert {"running", "done"} <= {state for state, _ in each}
