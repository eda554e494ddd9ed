"""Determinism scenarios (D1, C5) with a size parameter: a request gives the same pixels in every situation."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.generation.test_lora_runs import write
from tests.service.quick import PATIENCE, finish
from zimage_app import load_generator
from zimage_app.domain.events import Cancelled, Finished
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.rest.app import rest_routes
from zimage_app.service.generation.generator import Generator
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

Ask = Callable[[GenerationRequest], str]
"""Makes a picture; returns the SHA-256 of its pixels."""

STEPS = (
    Stage(width=64, height=96, steps=8, cfg=2.0, sampler="euler_ancestral", scheduler="flow_match"),
    Stage(width=128, height=128, steps=8, denoise=0.6, sampler="dpmpp_sde", scheduler="beta", shift=7.0),
)
"""Stages with 25 checks of the cancel function: one per stage, and one per evaluation (8 and 15)."""


def digest(picture: Any) -> str:
    """Return the SHA-256 of pixels."""
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


def cancels(generator: Generator, every: int) -> int:
    """Cancel a run at each check in turn; check that it ends there, and after every ``every``-th that the next run is
    correct. Return the number of checks.
    """
    request = GenerationRequest(prompt="a red boat", negative="云", seed=42, stages=STEPS)
    wanted = digest(generator.generate(request).image)
    points = 0
    while True:
        asked = 0

        def cancelled(limit: int = points) -> bool:
            nonlocal asked
            asked += 1
            return asked > limit

        last = list(generator.stream(request, cancelled))[-1]
        if isinstance(last, Finished):
            assert digest(last.picture) == wanted
            return points
        assert isinstance(last, Cancelled)
        points += 1
        assert asked == points, "nothing was evaluated after the stop"
        if points % every == 0:
            assert digest(generator.generate(request).image) == wanted


def same_pixels(models: Path, folder: Path, request: GenerationRequest, seeds: int) -> None:
    """Check that pictures made in each way have exactly the pixels of a first run, for ``seeds`` seeds."""
    config = StudioConfig(models=models, loras=folder / "loras", outputs=folder, model="tiny")
    write(config.loras / "ink.safetensors", 1)
    requests = [request.model_copy(update={"seed": 1000 + number}) for number in range(seeds)]
    first = load_generator("tiny", config)
    wanted = [digest(first.generate(each).image) for each in requests]
    assert len(set(wanted)) == seeds
    for name, way in _ways(config, first, request):
        with way as ask:
            assert [ask(each) for each in requests] == wanted, name


def _ways(config: StudioConfig, first: Generator, request: GenerationRequest) -> Iterator[tuple[str, Any]]:
    yield "restart", _plain(load_generator("tiny", config))
    yield "after cancel", _after(first, lambda: list(first.stream(request, lambda: True)))
    inked = request.model_copy(update={"loras": (LoraUse(name="ink"),)})
    yield "after LoRA", _after(first, lambda: first.generate(inked))
    yield "under load", _under_load(first)
    yield "queue", _queue(config)
    yield "REST", _rest(config)


@contextmanager
def _plain(generator: Generator) -> Iterator[Ask]:
    yield lambda request: digest(generator.generate(request).image)


@contextmanager
def _after(generator: Generator, before: Callable[[], object]) -> Iterator[Ask]:
    def ask(request: GenerationRequest) -> str:
        before()
        return digest(generator.generate(request).image)

    yield ask


@contextmanager
def _under_load(generator: Generator) -> Iterator[Ask]:
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            np.linalg.svd(np.random.default_rng(0).normal(size=(120, 120)))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield lambda request: digest(generator.generate(request).image)
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def _queue(config: StudioConfig) -> Iterator[Ask]:
    """Make each picture as the third of three queued jobs."""
    with closing(Studio(config)) as studio:

        def ask(request: GenerationRequest) -> str:
            others = [request.model_copy(update={"seed": seed}) for seed in (1, 2)]
            jobs = [studio.submit(each, "tiny") for each in (*others, request)]
            picture = finish(studio, jobs[-1]).picture
            assert picture is not None
            return _saved(picture.read())

        yield ask


@contextmanager
def _rest(config: StudioConfig) -> Iterator[Ask]:
    with closing(Studio(config)) as studio:
        client = TestClient(Starlette(routes=rest_routes(studio, "auto")), base_url="http://127.0.0.1")

        def ask(request: GenerationRequest) -> str:
            body = request.model_dump(mode="json", exclude_defaults=True) | {"model": "tiny"}
            task = client.post("/api/generate", json=body).json()["task_id"]
            end = time.monotonic() + PATIENCE
            while (answer := client.get(f"/api/generate/{task}").json())["status"] != "completed":
                assert answer["error"] is None
                assert time.monotonic() < end
                time.sleep(0.05)
            return _saved(client.get(answer["result"]["download_url"]).content)

        yield ask


def _saved(png: bytes) -> str:
    with Image.open(io.BytesIO(png)) as image:
        return digest(np.asarray(image))
