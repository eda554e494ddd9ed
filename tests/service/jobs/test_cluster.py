"""Workers elsewhere: what they need is sent once, what they tell comes back, and one that is lost costs a try."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.upscaler_files import old_names, weights
from tests.service.jobs.test_runners import end
from tests.service.quick import PATIENCE
from tests.service.records import a_picture, a_record
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import ModelError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture, Upscaler
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.generator import load_generator
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.progress import LiveJob
from zimage_app.service.jobs.runners.cluster.ray_cluster import RayHandle
from zimage_app.service.jobs.runners.cluster.runner import ClusterRunner, WorkerHandle
from zimage_app.service.jobs.runners.cluster.worker import Worker
from zimage_app.service.jobs.runners.remote import RemoteDependencies, Unreachable
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, stage_views
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.upscalers import FOLDERS as UPSCALERS
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import ROOT, StudioConfig

CONFIG = StudioConfig(offline=True)
STAGES = (Stage(width=64, height=64, steps=2),)
INK = "demo-ink-wash"


def request(seed: int = 1, **more: object) -> GenerationRequest:
    return GenerationRequest(prompt="a red boat", seed=seed, stages=STAGES).model_copy(update=more)


def source(name: str) -> ModelSource:
    return find_model(name, CONFIG.model_folders)


class NearHandle:
    """A worker in this process, which is lost when the test says so."""

    def __init__(self, cache: Path, config: StudioConfig = CONFIG) -> None:
        self._cache = cache
        self._worker = Worker(str(cache), "cpu", config)
        self.asked: list[str] = []
        self.loses: list[str] = []
        """At these questions, once each, it is lost and another takes its place."""

    def ask(self, method: str, *arguments: Any) -> Any:
        self.asked.append(method)
        if method in self.loses:
            self.loses.remove(method)
            self._worker = Worker(str(self._cache), "cpu", CONFIG)
            raise Unreachable("unplugged")
        return getattr(self._worker, method)(*arguments)

    def share(self, data: bytes) -> bytes:
        return data


class Desk:
    """A dispatcher whose runners are workers elsewhere."""

    def __init__(self, outputs: Path, *handles: WorkerHandle) -> None:
        self.loras, self.inputs = LoraLibrary(ROOT / "loras"), PictureInputs(outputs)
        self.gallery = Gallery(outputs)
        self.card: ModelCard = source("demo").card
        dependencies = RemoteDependencies(self.plan, source, self.loras, self.inputs, self.gallery)
        self.runners = [
            ClusterRunner(dependencies, handle, f"w{n}", retry_interval=0.05) for n, handle in enumerate(handles)
        ]
        self.dispatcher = Dispatcher(outputs / ".state", self.gallery, self.runners, JobRules(PRIVATE_LIMITS))
        self._asked = 0

    def close(self) -> None:
        self.dispatcher.close()

    def plan(self, asked: GenerationRequest, model: str) -> GenerationPlan:
        del model
        return make_plan(asked, self.card, lora_name=self.loras.name_of)

    def ask(self, asked: GenerationRequest, model: str = "demo") -> str:
        self._asked += 1
        plan, name = self.plan(asked, model), f"job{self._asked}"
        job = Job(name, "", model, plan.request.model_dump_json(), 100.0)
        self.dispatcher.submit([(job, LiveJob(JobView(name, "", model, stages=stage_views(plan.request)), plan))])
        return name

    def make(self, asked: GenerationRequest, model: str = "demo") -> JobView:
        return end(self.dispatcher, self.ask(asked, model))

    def until(self, name: str, is_so: Callable[[JobView], bool]) -> None:
        view = self.dispatcher.view(name)
        while view is not None and not is_so(view):
            assert not view.ended, view.error
            view = self.dispatcher.progress.wait(name, view.version, PATIENCE)


@pytest.fixture
def near(tmp_path: Path) -> NearHandle:
    return NearHandle(tmp_path / "cache")


@pytest.fixture
def desk(tmp_path: Path, near: NearHandle) -> Iterator[Desk]:
    with closing(Desk(tmp_path, near)) as made:
        yield made


def pixels(view: JobView) -> Any:
    assert view.state == "done", view.error
    assert view.picture is not None
    return np.asarray(Image.open(view.picture.path))


def test_a_worker_makes_the_picture_that_is_made_here(desk: Desk) -> None:
    asked = request(loras=(LoraUse(name=INK, strength=0.5),))
    view = desk.make(asked)
    here = load_generator("demo", CONFIG).generate(asked).image
    assert np.array_equal(pixels(view), np.asarray(here))
    assert view.picture is not None
    assert view.picture.record.surroundings.runner == "ray"
    assert desk.runners[0].status().model == "demo"


def test_stage_pictures_are_kept_and_another_file_of_a_lora_is_told(desk: Desk) -> None:
    recorded = LoraUse(name=INK, sha256="0" * 64)
    view = desk.make(request(stages=(*STAGES, STAGES[0]), loras=(recorded,), keep_stages=True))
    assert view.picture is not None, view.error
    assert [path.name for path in view.picture.path.parent.glob("*.stage*.png")] == [
        f"{view.picture.path.stem}.stage1.png"
    ]
    assert any("is not the file" in text.en or "another file" in text.en for text in view.warnings), view.warnings


def test_what_a_job_needs_is_sent_once(desk: Desk, near: NearHandle) -> None:
    kept = desk.inputs.save_file(desk.gallery.save(a_picture(), a_record()).path)
    stages = (STAGES[0].model_copy(update={"denoise": 0.5}),)
    asked = request(loras=(LoraUse(name=INK),), start=StartPicture(picture=kept.sha256), stages=stages)
    for seed in (1, 2):
        assert desk.make(asked.model_copy(update={"seed": seed})).state == "done"
    assert near.asked.count("receive_file") == 2


def test_a_start_picture_is_enlarged_by_the_upscaler_of_the_workers_machine(tmp_path: Path) -> None:
    config = replace(CONFIG, models=tmp_path / "models", shipped=CONFIG.models / "demo")
    folder = config.models / UPSCALERS[0]
    folder.mkdir(parents=True)
    torch.save(old_names(weights()), folder / "4x-some.pth")
    with closing(Desk(tmp_path, NearHandle(tmp_path / "cache", config))) as desk:
        small = a_picture()[:96, :72]
        kept = desk.inputs.save_file(desk.gallery.save(small, a_record()).path)
        start = StartPicture(picture=kept.sha256, upscaler=Upscaler(name="4x-some.pth"))
        view = desk.make(request(start=start, stages=(STAGES[0].model_copy(update={"denoise": 0.5}),)))
    assert view.picture is not None, view.error
    made = view.picture.record.request.start
    assert made is not None
    assert made.upscaler is not None
    assert made.upscaler.sha256 == hashlib.sha256((folder / "4x-some.pth").read_bytes()).hexdigest()


def test_a_worker_that_is_lost_in_the_middle_costs_a_second_try(desk: Desk, near: NearHandle) -> None:
    near.loses = ["poll"]
    assert desk.make(request()).state == "done"
    assert near.asked.count("begin") == 2


def test_a_worker_that_is_lost_twice_is_reported(desk: Desk, near: NearHandle) -> None:
    near.loses = ["poll", "poll"]
    view = desk.make(request())
    assert view.state == "failed"
    assert "twice" in str(view.error)


def test_a_worker_that_is_lost_before_the_job_began_costs_nothing(desk: Desk, near: NearHandle) -> None:
    near.loses = ["missing_files"] * 3
    assert desk.make(request()).state == "done"


def test_a_model_that_the_worker_does_not_have_is_told(desk: Desk) -> None:
    view = desk.make(request(), "z-image-turbo")
    assert isinstance(view.error, ModelError)


def test_a_cancelled_job_ends_there(desk: Desk) -> None:
    stages = (Stage(width=256, height=256, steps=200),)
    name = desk.ask(request(stages=stages))
    desk.until(name, lambda view: view.state == "running")
    desk.dispatcher.stop([name])
    assert end(desk.dispatcher, name).state == "cancelled"


@pytest.mark.slow
def test_two_actors_of_ray_make_all_pictures_though_one_is_killed(tmp_path: Path) -> None:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        handles = [RayHandle(gpu=False, arguments=(str(tmp_path / "cache"), "cpu", CONFIG)) for _ in range(2)]
        with closing(Desk(tmp_path, *handles)) as desk:
            names = [desk.ask(request(seed)) for seed in range(4)]
            long = desk.ask(request(9, stages=(Stage(width=256, height=256, steps=30),)))
            desk.until(long, lambda view: view.state == "running")
            working = {
                job: runner for runner, job in zip(handles, (j for _, j in desk.dispatcher.runners()), strict=True)
            }
            ray.kill(working[long].actor, no_restart=False)
            assert [end(desk.dispatcher, name).state for name in (*names, long)] == ["done"] * 5
            store = desk.dispatcher._store
            assert store is not None
            found = store.find(long)
            assert found is not None
            assert found.attempts == 2
    finally:
        ray.shutdown()
