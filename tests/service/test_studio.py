"""The queue: every job ends, in order, and what a face sees of it is whole."""

from __future__ import annotations

import io
import re
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from zimage_app.domain.errors import BusyError, GenerationError, ModelError, RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.models.weights.placement import MemoryPlan
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.runner_choice import RunnerChoice
from zimage_app.service.studio import Studio

TIMEOUT = 60.0


@pytest.fixture
def studio(models_dir: Path, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(StudioConfig(models=models_dir, outputs=tmp_path, model="tiny"))
    yield studio
    studio.close()


def finish(studio: Studio, job: str) -> JobView:
    """Watch a job to its end."""
    end = time.monotonic() + TIMEOUT
    view = studio.wait(job, -1, 0.0)
    while not view.ended and time.monotonic() < end:
        view = studio.wait(job, view.version, 1.0)
    return view


def loaded(studio: Studio) -> str | None:
    """The name of the model in memory."""
    model = studio.loaded()
    return None if model is None else model.name


def slow_request() -> GenerationRequest:
    """Long enough to be stopped in the middle."""
    return GenerationRequest(prompt="x", seed=1, stages=(Stage(width=256, height=256, steps=200),) * 4)


def test_a_job_runs_to_a_saved_picture(studio: Studio, small_request: GenerationRequest, tmp_path: Path) -> None:
    job = studio.submit(small_request, "tiny", owner="me")
    assert studio.current("me") == job
    view = finish(studio, job)
    assert view.state == "done"
    assert view.progress == 1.0
    assert view.picture is not None
    assert view.picture.path.is_relative_to(tmp_path)
    assert read_record(view.picture.path).request.seed == 42
    assert studio.current("me") is None
    assert [picture.record.id for picture in studio.today()] == [view.picture.record.id]
    for stage, size in zip(view.stages, [(64, 96), (128, 192)], strict=True):
        assert stage.step == stage.steps == 3
        assert stage.seconds is not None
        assert stage.preview is not None
        with Image.open(io.BytesIO(stage.preview)) as image:
            assert image.size == size


def test_views_only_move_forward(studio: Studio, small_request: GenerationRequest) -> None:
    job = studio.submit(small_request, "tiny")
    views = [studio.wait(job, -1, 0.0)]
    while not views[-1].ended:
        views.append(studio.wait(job, views[-1].version, 5.0))
    order = ["waiting", "loading", "running", "saving", "done"]
    places = [order.index(view.state) for view in views]
    assert places == sorted(places)
    assert [view.progress for view in views] == sorted(view.progress for view in views)
    assert [view.version for view in views] == sorted({view.version for view in views})


def test_jobs_wait_their_turn_and_can_be_taken_back(studio: Studio, small_request: GenerationRequest) -> None:
    running = studio.submit(slow_request(), "tiny")
    jobs = [studio.submit(small_request, "tiny") for _ in range(3)]
    while studio.wait(running, -1, 0.0).state != "running":
        time.sleep(0.01)
    assert [studio.wait(job, -1, 0.0).ahead for job in jobs] == [1, 2, 3]
    studio.cancel(jobs[0])
    assert studio.wait(jobs[0], -1, 0.0).state == "cancelled"
    assert [studio.wait(job, -1, 0.0).ahead for job in jobs[1:]] == [1, 2]
    studio.cancel(running)
    assert finish(studio, running).state == "cancelled"
    assert [finish(studio, job).state for job in jobs[1:]] == ["done", "done"]
    assert [studio.wait(job, -1, 0.0).ahead for job in jobs[1:]] == [0, 0]


def uncounted(patch: pytest.MonkeyPatch) -> None:
    """Let too long a text be queued, as where a model's tokenizer can't be read before the model is loaded."""
    patch.setattr(Studio, "_check_tokens", lambda *_: None)


def test_a_failure_is_a_sentence_and_the_next_job_runs(
    studio: Studio, small_request: GenerationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in ("prompt", "negative"):
        too_long = small_request.model_copy(update={field: "船" * 7000})
        sentence = rf"^{field}: 21000 tokens, but this model takes at most \d+; make it shorter$"
        with pytest.raises(RequestError, match=sentence):
            studio.submit(too_long, "tiny")
        with monkeypatch.context() as patch:
            uncounted(patch)
            failed = finish(studio, studio.submit(too_long, "tiny"))
        assert failed.state == "failed"
        assert failed.error is not None
        assert re.match(sentence, failed.error.text.en)
    assert finish(studio, studio.submit(small_request, "tiny")).state == "done"
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_a_picture_that_cannot_be_saved_is_held_until_it_can(
    models_dir: Path, small_request: GenerationRequest, tmp_path: Path
) -> None:
    """C3: what a full disk refuses can be downloaded, and is saved once there is room, without a restart."""
    studio = Studio(StudioConfig(models=models_dir, outputs=tmp_path, model="tiny"))
    day = tmp_path / f"{datetime.now().astimezone():%Y-%m-%d}"
    day.write_text("in the way", encoding="utf-8")
    job = studio.submit(small_request, "tiny")
    view = studio.wait(job, -1, 0.0)
    while view.picture is None:
        view = studio.wait(job, view.version, TIMEOUT)
    assert view.state == "saving"
    assert "could not be saved" in view.warnings[-1].en
    assert studio.warnings() == view.warnings[-1:]
    held = studio.picture(view.picture.record.id)
    assert held is not None
    with Image.open(io.BytesIO(held.read())) as image:
        assert image.size == (128, 192)
    day.unlink()
    again = finish(studio, studio.submit(small_request, "tiny"))
    assert again.state == "done"
    assert finish(studio, job).state == "done"
    saved = studio.picture(view.picture.record.id)
    assert saved is not None
    assert (saved.unsaved_png, saved.path.read_bytes()) == (None, held.read())
    assert studio.warnings() == ()
    kept = studio.view(job)
    assert kept is not None
    assert kept.warnings == ()
    studio.close()


def test_bad_orders_are_refused_at_the_door(studio: Studio, small_request: GenerationRequest) -> None:
    with pytest.raises(ModelError, match="no model 'sdxl'"):
        studio.submit(small_request, "sdxl")
    with pytest.raises(RequestError, match="not known"):
        studio.wait("nobody", 0, 0.0)
    assert studio.view("nobody") is None
    studio.cancel("nobody")


def test_the_queue_has_an_end(models_dir: Path, small_request: GenerationRequest, tmp_path: Path) -> None:
    limits = replace(PRIVATE_LIMITS, waiting=3)
    studio = Studio(StudioConfig(models=models_dir, outputs=tmp_path, model="tiny", limits=limits))
    first = studio.submit(slow_request(), "tiny")
    while studio.wait(first, -1, 0.0).state == "waiting":
        time.sleep(0.01)
    for _ in range(limits.waiting):
        studio.submit(small_request, "tiny")
    with pytest.raises(BusyError, match="holds 3 pictures of at most 3"):
        studio.submit(small_request, "tiny")
    studio.close()


def test_a_shared_studio_shows_everybody_only_their_own(
    models_dir: Path, small_request: GenerationRequest, tmp_path: Path
) -> None:
    studio = Studio(StudioConfig(models=models_dir, outputs=tmp_path, model="tiny", shared=True))
    view = finish(studio, studio.submit(small_request, "tiny", owner="a"))
    assert view.picture is not None
    name = view.picture.record.id
    assert studio.picture(name, "a") is not None
    assert studio.picture(name, "b") is None
    assert [picture.record.id for picture in studio.today("a")] == [name]
    assert studio.today("b") == ()
    studio.close()


def test_the_model_in_memory_stays_when_another_cannot_be_loaded(
    models_dir: Path, small_request: GenerationRequest, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_dir / "tiny", models / "tiny")
    shutil.copytree(models_dir / "tiny", models / "other")
    shutil.copytree(models_dir / "tiny", models / "broken")
    (models / "broken" / "vae" / "config.json").unlink()
    studio = Studio(StudioConfig(models=models, outputs=tmp_path, model="tiny"))
    assert finish(studio, studio.submit(small_request, "tiny")).state == "done"
    assert finish(studio, studio.submit(small_request, "broken")).state == "failed"
    kept = studio._slots[0]._generator
    assert kept is not None
    assert kept.card.name == "tiny"
    assert finish(studio, studio.submit(small_request, "tiny")).state == "done"
    assert studio._slots[0]._generator is kept
    assert finish(studio, studio.submit(small_request, "other")).state == "done"
    assert studio._slots[0]._generator is not kept
    studio.close()


def test_what_is_being_loaded_is_said(studio: Studio, small_request: GenerationRequest) -> None:
    job = studio.submit(small_request, "tiny")
    words: list[str] = []
    view = studio.wait(job, -1, 0.0)
    while not view.ended:
        view = studio.wait(job, view.version, 5.0)
        words += [view.loading.en] if view.loading else []
    assert words
    assert all(sentence.startswith("loading ") for sentence in words)


def test_a_failed_job_keeps_no_model_in_memory(
    studio: Studio, small_request: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncounted(monkeypatch)
    too_long = small_request.model_copy(update={"prompt": "船" * 7000})
    error = finish(studio, studio.submit(too_long, "tiny")).error
    assert error is not None
    # Each of these leads to the run's frames, whose locals hold the latents and the model.
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_closing_keeps_the_queue_and_the_next_start_goes_on(
    models_dir: Path, small_request: GenerationRequest, tmp_path: Path
) -> None:
    config = StudioConfig(models=models_dir, outputs=tmp_path, model="tiny")
    studio = Studio(config)
    slow = studio.submit(slow_request(), "tiny", owner="me")
    jobs = [studio.submit(small_request, "tiny", owner="me") for _ in range(2)]
    while studio.wait(slow, -1, 0.0).state in ("waiting", "loading"):
        time.sleep(0.01)
    studio.close()
    with pytest.raises(GenerationError, match="closing"):
        studio.submit(small_request, "tiny")
    with pytest.raises(GenerationError, match="closing"):
        studio.wait(slow, -1, TIMEOUT)
    again = Studio(config)
    again.start()
    assert again.current("me") == slow
    assert again.current("somebody else") is None
    views = [again.wait(job, -1, 0.0) for job in (slow, *jobs)]
    assert [(view.state == "waiting", view.ahead) for view in views[1:]] == [(True, 1), (True, 2)]
    assert [(stage.width, stage.steps) for stage in views[1].stages] == [(64, 3), (128, 3)]
    again.cancel(slow)
    done = [finish(again, job) for job in jobs]
    assert [view.state for view in done] == ["done", "done"]
    again.close()
    last = Studio(config)
    last.start()
    for job, before in zip(jobs, done, strict=True):
        seen = last.view(job)
        assert seen is not None
        assert before.picture is not None
        assert seen.picture == before.picture
        assert (seen.state, seen.progress) == ("done", 1.0)
    cancelled = last.view(slow)
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    last.close()


def test_the_tiny_model_is_the_one_that_was_chosen(studio: Studio) -> None:
    assert studio.default_model == "tiny"
    assert "tiny" in [card.name for card in studio.cards()]


def test_a_model_is_unloaded_on_request_and_loaded_again(studio: Studio, small_request: GenerationRequest) -> None:
    assert loaded(studio) is None
    finish(studio, studio.submit(small_request, "tiny"))
    assert loaded(studio) == "tiny"
    assert studio._slots[0]._generator is not None
    model = weakref.ref(studio._slots[0]._generator)
    studio.unload()
    assert loaded(studio) is None
    assert model() is None, "something still holds the model"
    studio.unload()
    again = finish(studio, studio.submit(small_request, "tiny"))
    assert again.state == "done"
    assert loaded(studio) == "tiny"


def test_the_device_is_chosen(
    studio: Studio, small_request: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def watched(source: ModelSource, device: str | None, most: int | None) -> MemoryPlan:
        asked.append(device)
        return plan_memory(source, device, most)

    monkeypatch.setattr("zimage_app.service.generation.generator.plan_memory", watched)
    assert finish(studio, studio.submit(small_request, "tiny")).state == "done"
    studio.use_device("cpu")
    assert studio.device == "cpu"
    assert studio.loaded() is None
    assert finish(studio, studio.submit(small_request, "tiny")).state == "done"
    assert asked == [None, "cpu"]
    with pytest.raises(ModelError, match="'cuda:9' is not on this machine"):
        studio.use_device("cuda:9")
    assert studio.device == "cpu"
    assert studio.loaded() is not None


def test_a_model_at_work_is_not_unloaded(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zimage_app.service.studio._COMMAND_SECONDS", 0.2)
    job = studio.submit(slow_request(), "tiny")
    view = studio.wait(job, -1, 0.0)
    while view.state in ("waiting", "loading"):
        view = studio.wait(job, view.version, 5.0)
    with pytest.raises(GenerationError, match="at work"):
        studio.unload()
    studio.cancel(job)
    assert finish(studio, job).state == "cancelled"
    assert loaded(studio) == "tiny"


def test_two_devices_make_pictures_side_by_side_as_one_does(tmp_path: Path) -> None:
    stages = (Stage(width=64, height=64, steps=2),)
    requests = [GenerationRequest(prompt="a red boat", seed=seed, stages=stages) for seed in (1, 2, 3)]

    def pictures(name: str, *devices: str) -> list[bytes]:
        config = StudioConfig(outputs=tmp_path / name, model="demo", offline=True, device="cpu", devices=devices)
        with closing(Studio(config)) as studio:
            views = [finish(studio, job) for job in [studio.submit(each, "demo") for each in requests]]
            states = [(status.kind, status.where, status.model) for status, _ in studio.runners()]
            assert states == [("local", device, "demo") for device in devices or ("cpu",)]
        saved = [view.picture for view in views]
        return [Image.open(picture.path).tobytes() for picture in saved if picture is not None]

    assert pictures("two", "cpu", "cpu") == pictures("one")


def test_models_need_not_be_here_where_another_makes_the_pictures(tmp_path: Path) -> None:
    elsewhere = RunnerChoice("comfyui", ("http://127.0.0.1:9",))
    with closing(Studio(StudioConfig(outputs=tmp_path, model="demo", runner=elsewhere))) as studio:
        assert "z-image-turbo" in {card.name for card in studio.cards()}
        assert studio.plan(GenerationRequest(prompt="a boat"), "z-image-turbo").stages
        ((status, job),) = studio.runners()
        assert (status.kind, status.where, job) == ("comfyui", "http://127.0.0.1:9", None)
        assert studio.details()[-1].rows[0].name.en == "comfyui http://127.0.0.1:9"


def test_a_runner_that_does_not_answer_is_told_while_its_pictures_wait(tmp_path: Path) -> None:
    elsewhere = RunnerChoice("comfyui", ("http://127.0.0.1:9",))
    with closing(Studio(StudioConfig(outputs=tmp_path, model="demo", runner=elsewhere))) as studio:
        job = studio.submit(GenerationRequest(prompt="a boat", stages=(Stage(width=64, height=64),)), "demo")
        view, end = studio.wait(job, -1, 0.0), time.monotonic() + TIMEOUT
        while not studio.warnings():
            assert time.monotonic() < end
            view = studio.wait(job, view.version, 0.1)
        assert "127.0.0.1:9 does not answer" in studio.warnings()[0].en
        assert not view.ended
        assert studio.runners()[0][0].trouble is not None
