"""Jobs made by a ComfyUI: the usual way, and with everything that may go wrong there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.jobs.fake_comfyui import FILES, FakeComfy, serving
from tests.service.jobs.test_runners import end
from tests.service.quick import PATIENCE
from tests.service.records import a_picture, a_record
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.progress import LiveJob
from zimage_app.service.jobs.runners.comfyui.listener import Timeouts
from zimage_app.service.jobs.runners.comfyui.runner import ComfyRunner
from zimage_app.service.jobs.runners.fallback import FallbackRunner
from zimage_app.service.jobs.runners.remote import RemoteDependencies
from zimage_app.service.jobs.runners.runner import Assignment, Reports, RunnerStatus
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, stage_views
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import ROOT, StudioConfig

MODEL = Z_IMAGE_TURBO.name
STAGES = (Stage(width=64, height=96, steps=3), Stage(width=128, height=192, steps=6, denoise=0.5))
QUICKLY = Timeouts(check_interval=0.05, gone=0.3, retry_interval=0.05)
INK = "demo-ink-wash"


def request(seed: int = 1, **more: object) -> GenerationRequest:
    return GenerationRequest(prompt="a red boat", seed=seed, stages=STAGES).model_copy(update=more)


def source(name: str) -> ModelSource:
    demo = find_model("demo", StudioConfig(models=ROOT / "models").model_folders)
    return replace(demo, card=replace(Z_IMAGE_TURBO, name=name))


class Desk:
    """A dispatcher whose runners are ComfyUIs, and what it takes to ask it for pictures."""

    def __init__(
        self, outputs: Path, addresses: Sequence[str], first: Callable[[ComfyRunner], FallbackRunner] | None
    ) -> None:
        self.loras = LoraLibrary(ROOT / "loras")
        self.inputs = PictureInputs(outputs)
        self.gallery = Gallery(outputs)
        dependencies = RemoteDependencies(self.plan, source, self.loras, self.inputs, self.gallery)
        self.runners = [ComfyRunner(dependencies, address, QUICKLY) for address in addresses]
        runners = [first(self.runners[0])] if first else self.runners
        self.dispatcher = Dispatcher(outputs / ".state", self.gallery, runners, JobRules(PRIVATE_LIMITS))
        self._asked = 0

    def plan(self, asked: GenerationRequest, model: str) -> GenerationPlan:
        return make_plan(asked, replace(Z_IMAGE_TURBO, name=model), lora_name=self.loras.name_of)

    def ask(self, asked: GenerationRequest) -> str:
        self._asked += 1
        plan, name = self.plan(asked, MODEL), f"job{self._asked}"
        job = Job(name, "", MODEL, plan.request.model_dump_json(), 100.0)
        self.dispatcher.submit([(job, LiveJob(JobView(name, "", MODEL, stages=stage_views(plan.request)), plan))])
        return name

    def make(self, asked: GenerationRequest) -> JobView:
        return end(self.dispatcher, self.ask(asked))

    def until(self, name: str, is_so: Callable[[JobView], bool]) -> JobView:
        view = self.dispatcher.view(name)
        while view is not None and not is_so(view):
            assert not view.ended, view.error
            view = self.dispatcher.progress.wait(name, view.version, PATIENCE)
        assert view is not None
        return view


@contextmanager
def desk(
    outputs: Path,
    *fakes: FakeComfy,
    addresses: Sequence[str] = (),
    first: Callable[[ComfyRunner], FallbackRunner] | None = None,
) -> Iterator[Desk]:
    with ExitStack() as stack:
        for fake in fakes:
            stack.enter_context(serving(fake))
        made = Desk(outputs, [*(fake.address for fake in fakes), *addresses], first)
        stack.callback(made.dispatcher.close)
        for runner in made.runners:
            stack.callback(runner.close, 1.0)
        yield made


def until(is_so: Callable[[], bool]) -> None:
    pause, left = threading.Event(), PATIENCE
    while not is_so():
        assert left > 0
        left -= 0.02
        pause.wait(0.02)


def error_of(view: JobView) -> str:
    assert view.state == "failed"
    assert view.error is not None
    return view.error.text.en


def test_a_picture_is_made_there_and_saved_as_any_other(tmp_path: Path) -> None:
    with desk(tmp_path, FakeComfy()) as there:
        view = there.make(request())
    assert (view.state, view.progress) == ("done", 1.0), view.error
    assert view.picture is not None
    record = view.picture.record
    assert (record.width, record.height, record.model) == (128, 192, MODEL)
    assert (record.surroundings.runner, record.surroundings.device) == ("comfyui 0.33.0", "cuda")
    assert [stage.seed for stage in record.stages] == [stage.seed for stage in there.plan(request(), MODEL).stages]
    assert [stage.step for stage in view.stages] == [3, 6]
    assert all(stage.preview for stage in view.stages)


def test_files_are_matched_by_name_wherever_they_lie_there(tmp_path: Path) -> None:
    files = {
        "unet_name": ("zit\\Z_Image_Turbo_bf16.safetensors", "b.safetensors"),
        "lora_name": (f"a\\{INK}.safetensors",),
    }
    fake = FakeComfy(FILES | files)
    with desk(tmp_path, fake) as there:
        assert there.make(request(loras=(LoraUse(name=INK, strength=0.5),))).state == "done"
    values = [value for node in fake.prompts[0].values() for value in node["inputs"].values()]
    assert {files["unet_name"][0], files["lora_name"][0]} <= {value for value in values if isinstance(value, str)}


def test_what_the_server_lacks_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    fake = FakeComfy(FILES | {"vae_name": ()}, lacks=frozenset({"LatentUpscale"}))
    with desk(tmp_path, fake) as there:
        said = error_of(there.make(request()))
    assert "ae.safetensors" in said
    assert "LatentUpscale" in said
    assert fake.prompts == []


def test_the_server_is_asked_once_what_it_has(tmp_path: Path) -> None:
    fake = FakeComfy()
    with desk(tmp_path, fake) as there:
        assert {there.make(request(seed)).state for seed in (1, 2, 3)} == {"done"}
    assert fake.asked.count("GET /object_info") == 1


def test_with_easycache_no_sampler_is_left_out(tmp_path: Path) -> None:
    stages = tuple(stage.model_copy(update={"easycache": EasyCache()}) for stage in STAGES)
    fake = FakeComfy()
    with desk(tmp_path, fake) as there:
        views = [there.make(request(stages=stages)) for _ in range(2)]
    assert [view.state for view in views] == ["done", "done"]
    assert any("EasyCache in stage 1" in text.en for text in views[0].warnings)
    first, second = (next(n for n in sent.values() if n["class_type"] == "KSampler") for sent in fake.prompts)
    assert first["inputs"]["run"] != second["inputs"]["run"]


def test_a_start_picture_is_handed_in_at_the_stages_size(tmp_path: Path) -> None:
    fake = FakeComfy()
    with desk(tmp_path, fake) as there:
        kept = there.inputs.save_file(there.gallery.save(a_picture(), a_record()).path)
        view = there.make(request(start=StartPicture(picture=kept.sha256)))
    assert view.state == "done"
    assert b"PNG" in fake.uploads[0]
    loader = next(node for node in fake.prompts[0].values() if node["class_type"] == "LoadImage")
    assert loader["inputs"]["image"] == "handed-in.png"


def test_a_job_that_somebody_stops_there_is_reported(tmp_path: Path) -> None:
    fake = FakeComfy(hold=threading.Event())
    with desk(tmp_path, fake) as there:
        name = there.ask(request())
        there.until(name, lambda view: view.state == "running")
        fake.interrupt({})
        assert fake.hold is not None
        fake.hold.set()
        assert "Stopped by somebody" in error_of(end(there.dispatcher, name))


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        (
            FakeComfy(refuses="'euler' of another age"),
            "refuses the workflow: Value not in list: 'euler' of another age",
        ),
        (FakeComfy(fails="out of memory"), "failed: VAEDecode: out of memory"),
        (FakeComfy(picture_size=(64, 64)), "another picture than was asked for (64 x 64)"),
        (FakeComfy(another_workflow=True), "another picture than was asked for (of another workflow)"),
    ],
    ids=["refuses", "fails", "another size", "another workflow"],
)
def test_what_goes_wrong_there_is_told_in_its_words(fake: FakeComfy, words: str, tmp_path: Path) -> None:
    with desk(tmp_path, fake) as there:
        assert words in error_of(there.make(request()))
        assert there.runners[0].status().trouble is None


@pytest.mark.parametrize("path", ["/object_info", "/prompt"])
def test_a_request_that_always_fails_there_holds_up_no_other_job(path: str, tmp_path: Path) -> None:
    fake = FakeComfy(statuses={path: 500})
    with desk(tmp_path, fake) as there:
        assert f"it answers HTTP 500 to {'GET' if path == '/object_info' else 'POST'} {path}" in error_of(
            there.make(request())
        )
        fake.statuses = {}
        assert there.make(request()).state == "done"


def test_a_server_that_a_proxy_says_is_away_is_waited_for(tmp_path: Path) -> None:
    fake = FakeComfy(statuses={"/object_info": 502})
    with desk(tmp_path, fake) as there:
        name = there.ask(request())
        there.until(name, lambda _: there.runners[0].status().trouble is not None)
        fake.statuses = {}
        assert end(there.dispatcher, name).state == "done"


def test_a_lost_socket_costs_nothing_but_previews(tmp_path: Path) -> None:
    with desk(tmp_path, FakeComfy(loses_socket=True)) as there:
        assert there.make(request()).state == "done"


def test_a_server_that_dies_in_the_middle_and_comes_back_makes_the_picture(tmp_path: Path) -> None:
    fake = FakeComfy(dies=1)
    with desk(tmp_path, fake) as there:
        name = there.ask(request())
        there.until(name, lambda view: view.state == "waiting" and not fake.running)
        assert there.runners[0].status().trouble is not None
        fake.start()
        assert end(there.dispatcher, name).state == "done"
    assert len(fake.prompts) == 2


def test_a_server_that_dies_twice_is_reported(tmp_path: Path) -> None:
    fake = FakeComfy(dies=2)
    with desk(tmp_path, fake) as there:
        name = there.ask(request())
        there.until(name, lambda view: view.state == "waiting" and not fake.running)
        fake.start()
        assert "twice" in error_of(end(there.dispatcher, name))


def test_a_job_waits_for_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    fake = FakeComfy()
    with desk(tmp_path, fake) as there:
        fake.stop()
        name = there.ask(request())
        there.until(name, lambda view: view.state == "waiting" and there.runners[0].status().trouble is not None)
        fake.start()
        view = end(there.dispatcher, name)
    assert (view.state, len(fake.prompts)) == ("done", 1)


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    other = FakeComfy()
    with serving(other):
        fake = FakeComfy(redirects=other.address)
        with desk(tmp_path, fake) as there:
            name = there.ask(request())
            there.until(name, lambda _: there.runners[0].status().trouble is not None)
    assert other.asked == []


def test_cancelling_reaches_the_running_job_there(tmp_path: Path) -> None:
    fake = FakeComfy(hold=threading.Event())
    with desk(tmp_path, fake) as there:
        name = there.ask(request())
        there.until(name, lambda view: view.state == "running" and view.progress > 0)
        there.dispatcher.stop([name])
        until(lambda: bool(fake.interrupts))
        assert fake.hold is not None
        fake.hold.set()
        assert end(there.dispatcher, name).state == "cancelled"
    assert fake.interrupts[0] == {"prompt_id": "00000000-0000-4000-8000-000000000001"}


@pytest.mark.parametrize("chats", [False, True], ids=["silent", "with an extension that always sends"])
def test_cancelling_takes_a_waiting_job_out_of_the_queue_there(chats: bool, tmp_path: Path) -> None:
    fake = FakeComfy(hold=threading.Event(), chats=chats)
    with serving(fake), desk(tmp_path, addresses=[fake.address] * 2) as there:
        names = [there.ask(request(seed)) for seed in (1, 2)]
        until(lambda: bool(fake.queue()["queue_running"]) and bool(fake.queue()["queue_pending"]))
        # Time in the queue there is no time of the job's run, which the limit counts.
        until(lambda: sorted(there.dispatcher.progress.running_seconds(name) > 0 for name in names) == [False, True])
        waits = f"Waiting in the queue of the ComfyUI at {fake.address}"
        until(lambda: [text.en for name in names if (text := there.until(name, bool).loading)] == [waits])
        there.dispatcher.stop(names)
        until(lambda: bool(fake.deleted) and bool(fake.interrupts))
        assert fake.hold is not None
        fake.hold.set()
        assert [end(there.dispatcher, name).state for name in names] == ["cancelled", "cancelled"]
    stopped = {each["prompt_id"] for each in fake.interrupts}
    assert (len(set(fake.deleted)), len(stopped), stopped & set(fake.deleted)) == (1, 1, set())


def test_addresses_work_side_by_side(tmp_path: Path) -> None:
    fakes = [FakeComfy(hold=threading.Event()), FakeComfy(hold=threading.Event())]
    with desk(tmp_path, *fakes) as there:
        names = [there.ask(request(seed)) for seed in (1, 2)]
        for name in names:
            there.until(name, lambda view: view.state == "running")
        for fake in fakes:
            assert fake.hold is not None
            fake.hold.set()
        assert [end(there.dispatcher, name).state for name in names] == ["done", "done"]
    assert [len(fake.prompts) for fake in fakes] == [1, 1]


class Refusing:
    """A runner whose model can't be used."""

    def start(self, assignment: Assignment, reports: Reports) -> None:
        reports.failed(assignment.job.id, ModelError(Text("packed by nobody knows what.", "格式未知。")))

    def status(self) -> RunnerStatus:
        return RunnerStatus("local", "cpu")

    def close(self, seconds: float) -> None:
        del seconds


def test_what_is_refused_here_is_made_there_and_said(tmp_path: Path) -> None:
    with desk(tmp_path, FakeComfy(), first=lambda comfy: FallbackRunner(Refusing(), comfy)) as there:
        view = there.make(request())
    assert view.state == "done"
    assert any("packed by nobody knows what" in text.en for text in view.warnings)


def test_without_the_other_one_both_reasons_are_told(tmp_path: Path) -> None:
    fake = FakeComfy()
    with desk(tmp_path, fake, first=lambda comfy: FallbackRunner(Refusing(), comfy)) as there:
        fake.stop()
        said = error_of(there.make(request()))
    assert "packed by nobody knows what" in said
    assert "does not answer" in said
