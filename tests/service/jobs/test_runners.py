"""Several runners at one queue: no job twice, none lost, fair turns, and one of them may die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.service.quick import MODEL, PATIENCE, QuickGenerator, plan_of, quick_request
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import LoadingCancelled
from zimage_app.domain.events import Picture
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.progress import LiveJob
from zimage_app.service.jobs.runners.local import LocalDependencies, LocalRunner
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, stage_views
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import Gallery, read_record
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import StudioConfig

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import Generator

Load = Callable[[Job, Callable[[Text], None], Callable[[], bool]], "Generator"]


def _no_loras(*_: object) -> None:
    """There is nothing to hash."""


def dependencies(load: Load, gallery: Gallery, hash_loras: Callable[..., None] = _no_loras) -> LocalDependencies:
    return LocalDependencies(lambda request, _: plan_of(request), load, hash_loras, gallery)


@contextmanager
def dispatching(outputs: Path, loads: list[Load]) -> Iterator[Dispatcher]:
    """A dispatcher with a runner for each way to get a model."""
    gallery = Gallery(outputs)
    runners = [LocalRunner(dependencies(load, gallery)) for load in loads]
    dispatcher = Dispatcher(outputs / ".state", gallery, runners, JobRules(PRIVATE_LIMITS))
    with closing(dispatcher):
        yield dispatcher


def submit(dispatcher: Dispatcher, name: str, request: GenerationRequest, owner: str = "") -> str:
    plan = plan_of(request)
    job = Job(name, owner, MODEL, plan.request.model_dump_json(), plan.cost)
    view = JobView(name, owner, MODEL, stages=stage_views(plan.request))
    dispatcher.submit([(job, LiveJob(view, plan))])
    return name


def end(dispatcher: Dispatcher, name: str) -> JobView:
    view = dispatcher.progress.wait(name, -1, 0.0) or dispatcher.view(name)
    while view is not None and not view.ended:
        view = dispatcher.progress.wait(name, view.version, PATIENCE) or dispatcher.view(name)
    assert view is not None
    return view


def _given(generator: QuickGenerator, *_: object) -> Generator:
    return cast("Generator", generator)


def claims_by_many(folder: Path, rounds: int, runners: int = 8, count: int = 50) -> None:
    """L3: ``runners`` runners take ``count`` jobs: none twice, none lost."""
    for number in range(rounds):
        generators = [QuickGenerator(ModelCard(MODEL, Text("", ""), Text("", "")), 0.0) for _ in range(runners)]
        loads: list[Load] = [partial(_given, each) for each in generators]
        outputs = folder / str(number)
        with dispatching(outputs, loads) as dispatcher:
            dispatcher.pause(True)
            names = [submit(dispatcher, f"{n}", quick_request(n), str(n % 5)) for n in range(count)]
            dispatcher.pause(False)
            assert [end(dispatcher, name).state for name in names] == ["done"] * count
            begun = [dispatcher._store.find(name).attempts for name in names]  # type: ignore[union-attr]
            assert begun == [1] * count
        seeds = [read_record(path).request.seed for path in outputs.glob("*/*.png")]
        assert sorted(map(str, seeds)) == sorted(map(str, range(count)))


def test_l3_every_job_is_claimed_once(tmp_path: Path) -> None:
    claims_by_many(tmp_path, 1)


def test_two_runners_with_a_model_each_work_at_once_and_one_dies(
    models_dir: Path, tmp_path: Path, small_request: GenerationRequest
) -> None:
    source = find_model("tiny", StudioConfig(models=models_dir).model_folders)
    both, deaths = threading.Barrier(2), iter([True])

    def loader() -> Load:
        slot, first = ModelSlot(LoraLibrary(tmp_path / "loras"), config=StudioConfig(device="cpu")), True

        def load(job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]) -> Generator:
            nonlocal first
            del job
            model = slot.model(source, tell, cancelled)
            if first:
                first = False
                both.wait(PATIENCE)  # breaks where the two don't run at once
            elif next(deaths, False):
                raise SystemExit
            return model

        return load

    with dispatching(tmp_path, [loader(), loader()]) as dispatcher:
        requests = [small_request.model_copy(update={"seed": seed}) for seed in range(8)]
        names = [submit(dispatcher, str(n), request, "ab"[n % 2]) for n, request in enumerate(requests)]
        assert [end(dispatcher, name).state for name in names] == ["done"] * 8
        attempts = [dispatcher._store.find(name).attempts for name in names]  # type: ignore[union-attr]
        assert sorted(attempts) == [1] * 7 + [2], "the one whose runner crashed was begun again"
    records = [read_record(path) for path in tmp_path.glob("*/*.png")]
    assert sorted(str(record.request.seed) for record in records) == sorted(map(str, range(8)))


def test_the_next_job_runs_while_a_picture_is_encoded(tmp_path: Path) -> None:
    generator = QuickGenerator(ModelCard(MODEL, Text("", ""), Text("", "")), 0.0)
    second, loads = threading.Event(), []

    def load(job: Job, *_: object) -> Generator:
        loads.append(job.id)
        if len(loads) == 2:
            second.set()
        return cast("Generator", generator)

    class SlowGallery(Gallery):
        def encoded(self, picture: Picture, record: ImageRecord, mark: str = "") -> bytes:
            assert second.wait(PATIENCE)
            return super().encoded(picture, record, mark)

    gallery = SlowGallery(tmp_path)
    with closing(
        Dispatcher(tmp_path / ".state", gallery, [LocalRunner(dependencies(load, gallery))], JobRules(PRIVATE_LIMITS))
    ) as jobs:
        names = [submit(jobs, str(n), quick_request(n)) for n in range(2)]
        assert [end(jobs, name).state for name in names] == ["done", "done"]
    assert loads == names


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_command_is_carried_out_between_jobs_or_not_at_all(tmp_path: Path, cancelled: bool) -> None:
    generator = QuickGenerator(ModelCard(MODEL, Text("", ""), Text("", "")), 0.0)
    gate, order = threading.Event(), []

    def load(*_: object) -> Generator:
        assert gate.wait(PATIENCE)
        order.append("job")
        return cast("Generator", generator)

    runner = LocalRunner(dependencies(load, Gallery(tmp_path)))
    with closing(Dispatcher(tmp_path / ".state", Gallery(tmp_path), [runner], JobRules(PRIVATE_LIMITS))) as dispatcher:
        names = [submit(dispatcher, str(n), quick_request(n)) for n in range(2)]
        command = runner.command(lambda: order.append("command"))
        if cancelled:
            assert command.cancel()
        gate.set()
        assert [end(dispatcher, name).state for name in names] == ["done", "done"]
    assert order == (["job", "job"] if cancelled else ["job", "command", "job"])


def test_hashing_loras_is_told_and_can_be_cancelled(tmp_path: Path) -> None:
    generator = QuickGenerator(ModelCard(MODEL, Text("", ""), Text("", "")), 0.0)

    def hash_loras(uses: object, tell: Callable[[Text], None], cancelled: Callable[[], bool]) -> None:
        del uses
        tell(Text("hashing", "计算中"))
        while not cancelled():
            threading.Event().wait(0.01)
        raise LoadingCancelled

    runner = LocalRunner(dependencies(partial(_given, generator), Gallery(tmp_path), hash_loras))
    with closing(Dispatcher(tmp_path / ".state", Gallery(tmp_path), [runner], JobRules(PRIVATE_LIMITS))) as dispatcher:
        name = submit(dispatcher, "a", quick_request(1))
        view = dispatcher.view(name)
        while view is not None and view.loading is None:
            view = dispatcher.progress.wait(name, view.version, PATIENCE)
        assert view is not None
        assert (view.state, view.loading) == ("loading", Text("hashing", "计算中"))
        dispatcher.stop([name])
        assert end(dispatcher, name).state == "cancelled"
