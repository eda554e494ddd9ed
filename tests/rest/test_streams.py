"""C6 and L4 over REST: watchers that go away leave nothing behind, and status is told while a picture is made."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ui.conftest import served
from tests.ui.doubles import ScriptedStudio, finish
from zimage_app.service.views import JobView

DROPPED = 50


class Counted(ScriptedStudio):
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
    studio.history.close()


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
        assert client.get(f"/generate/{task_id}").json()["status"] == "done"


def test_l4_status_is_told_while_pictures_are_made(studio: Counted) -> None:
    studio.step_seconds = 0.05
    with served(studio) as address, httpx.Client(base_url=f"{address}api", timeout=60) as client:
        tasks = [client.post("/generate", json={"prompt": "x", "seed": seed}).json()["task_id"] for seed in range(3)]
        told: dict[str, list[tuple[str, float]]] = {task_id: [] for task_id in tasks}
        while any(not each or each[-1][0] != "done" for each in told.values()):
            for task_id, each in told.items():
                task = client.get(f"/generate/{task_id}").json()
                each.append((task["status"], task["progress"]))
        for each in told.values():
            progress = [percent for _, percent in each]
            assert progress == sorted(progress)
            order = ["waiting", "loading", "running", "done"]
            states = [order.index(state) for state, _ in each]
            assert states == sorted(states)
            assert {"running", "done"} <= {state for state, _ in each}
