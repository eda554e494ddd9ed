"""The facade of the service layer for page, REST and command line: models, LoRAs, presets, pictures, jobs.

Checks permissions, and passes jobs to the dispatcher (``jobs/dispatcher.py``).
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import GenerationError, ModelError, RequestError, StorageError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.domain.token_limit import check_tokens
from zimage_app.domain.upscaling import Upscaling, upscaled
from zimage_app.models.find.catalogue import ModelFolders, find_model, list_models, look_up
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.find.sizes import suggested
from zimage_app.service.diagnostics.details import Section, details
from zimage_app.service.diagnostics.monitor import Monitor
from zimage_app.service.exports.comfy import Form, exported
from zimage_app.service.exports.comfy.names import file_names
from zimage_app.service.generation.model_slot import LoadedModel, ModelSlot
from zimage_app.service.generation.run_times import RunTimes
from zimage_app.service.generation.start_pictures import StoredPicture, inputs_of
from zimage_app.service.groups import Groups
from zimage_app.service.jobs.core import JobRules
from zimage_app.service.jobs.dispatcher import Dispatcher
from zimage_app.service.jobs.progress import LiveJob
from zimage_app.service.jobs.runners.about import runner_section
from zimage_app.service.jobs.runners.fallback import FallbackRunner
from zimage_app.service.jobs.runners.kinds import KINDS
from zimage_app.service.jobs.runners.local import LocalDependencies, LocalRunner
from zimage_app.service.jobs.runners.remote import RemoteDependencies
from zimage_app.service.jobs.runners.runner import Runner, RunnerStatus
from zimage_app.service.jobs.store import Job
from zimage_app.service.jobs.view import JobView, QueueView, stage_views
from zimage_app.service.library.default_model import default_model
from zimage_app.service.library.loras import LoraEntry, LoraLibrary
from zimage_app.service.library.loras.sidecar import Notes
from zimage_app.service.library.models import ModelLibrary
from zimage_app.service.library.negatives import NegativeLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.library.token_counts import TokenCounter
from zimage_app.service.library.transformer_config import transformer_width
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.history import History, Search
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.limits import DiskUse, check_count, check_disk, check_plan
from zimage_app.service.rules.permissions import may_see, owner_mark, refuse_if_shared
from zimage_app.service.setup.config import StudioConfig

if TYPE_CHECKING:
    from zimage_app.service.generation.generator import Generator


log = logging.getLogger(__name__)

_RUNNER_SECONDS = 0.5
"""Seconds to wait at the app's end for the thread of a fallback runner."""
_COMMAND_SECONDS = 5.0
"""Seconds that a command to the runner waits for the running job to end."""
_SHORT = 100
"""Characters of a text that no model finds too long; counting its tokens would import torch, which takes seconds."""


def _devices(config: StudioConfig) -> Sequence[str | None]:
    if config.devices != ("all",):
        return config.devices or (config.device,)
    from zimage_app.models.device import device_names  # imports torch: seconds

    names = list(device_names())
    return [name for name in names if name != "cpu"] or names


def new_group() -> str:
    """Return a random name for a group of jobs."""
    return secrets.token_hex(8)


class Studio:
    """The app's services. Importing and constructing it loads no model and starts no thread."""

    def __init__(self, config: StudioConfig) -> None:
        self._config = config
        self.loras = LoraLibrary(*config.lora_folders, shared=config.shared)
        self.models = ModelLibrary(config)
        self.monitor = Monitor(config.outputs)
        self.history = History(config.outputs, shared=config.shared)
        self.negatives = NegativeLibrary(*config.negative_folders)
        self.presets = PresetLibrary(*config.preset_folders)
        self.wildcards = WildcardLibrary(*config.wildcard_folders)
        self.run_times = RunTimes(config.outputs)
        self._tokens = TokenCounter()
        self.shared = config.shared
        """Whether strangers can reach the page; they see only their own pictures and can't change shared things."""
        self.borrows_gpu = config.borrowed_gpu
        """Whether a GPU is borrowed for each run in the visitor's name (ZeroGPU), so only the page can start runs."""
        self.inputs = inputs_of(config, shared=config.shared)
        self._slots = [
            ModelSlot(self.loras, self.inputs, replace(config, device=device)) for device in _devices(config)
        ]
        self._disk = DiskUse(config.outputs)
        self._gallery = Gallery(config.outputs)
        self._local = [self._local_runner(slot) for slot in self._slots] if config.runner.is_local else []
        self._remote = self._remote_runners()
        self._rules = JobRules(config.allowed, config.shared, config.interrupted, config.folders)
        self._jobs = Dispatcher(config.state, self._gallery, self._all_runners(), self._rules)
        self.inputs.in_use = self._jobs.start_pictures
        self.groups = Groups(config.outputs, self.view)
        self.default_model = self._found(default_model(config), config.model_folders).card.name

    def cards(self) -> tuple[ModelCard, ...]:
        """Return the models on this machine, or all known ones if pictures are made by remote runners."""
        anywhere = not self._config.runner.is_local
        sources = [source for source in list_models(self._config.model_folders) if source.present or anywhere]
        names = {source.card.name for source in sources}
        if self._config.model is not None:
            chosen = self._found(self._config.model, self._config.model_folders)
            sources += [] if chosen.card.name in names else [chosen]
        return tuple(source.card for source in sources)

    def card(self, name: str) -> ModelCard:
        """Return the card of a model; raises ModelError if it isn't on this machine."""
        return self._source(name).card

    def redacted(self, text: Text) -> Text:
        """The sentence for the page's visitors: on a shared page, without folders."""
        return self._rules.redacted(text)

    def _source(self, name: str) -> ModelSource:
        given = self._config.model
        if given is not None and (source := self._found(given, self._config.model_folders)).card.name == name:
            return source
        return self._found(name, self._config.visitors_model_folders)

    def _found(self, name: str, model_folders: ModelFolders) -> ModelSource:
        """Return a model by name; its files need not be on this machine if runners are remote. Raises ModelError."""
        return find_model(name, model_folders) if self._config.runner.is_local else look_up(name, model_folders)

    def width(self, model: str) -> int | None:
        """Return the width of a model's transformer; None if unknown. Raises ModelError if the model isn't here."""
        return transformer_width(self._source(model))

    def note_lora(self, name: str, notes: Notes) -> LoraEntry:
        """Save the user's notes on a LoRA beside its file; return the updated entry.

        Raises:
            LoraError: there is no such LoRA, or its folder can't be written to.
            ForbiddenError: the page is shared with strangers.
        """
        refuse_if_shared("notes", shared=self.shared)
        return self.loras.write_notes(name, notes)

    def tokens(self, model: str, text: str) -> int | None:
        """Return the number of tokens of a text for a model; None if unknown.

        Raises:
            ModelError: the model isn't on this machine.
        """
        return self._tokens.count(self._source(model), text)

    def token_limit(self, model: str) -> int | None:
        """Return a model's maximum number of tokens; None if unknown. Raises ModelError if the model isn't here."""
        return self._tokens.limit(self._source(model))

    def _check_tokens(self, plan: GenerationPlan, model: str) -> None:
        for field, text in dict.fromkeys(plan.texts):
            if len(text) > _SHORT:
                tokens, limit = self.tokens(model, text), self.token_limit(model)
                if tokens is not None and limit is not None:
                    check_tokens(field, tokens, limit)

    def prepare(self) -> None:
        """Load the default model now, because ZeroGPU requires it before the page is launched.

        Raises:
            ModelError: the model's files can't be used.
        """
        self._slots[0].model(self._source(self.default_model), lambda text: log.debug("%s", text), lambda: False)

    def start(self) -> None:
        """Start the queue with the jobs left in it, the groups and the history.

        Raises:
            FolderInUse: another running app uses the folder of pictures.
        """
        self._jobs.start()
        self.groups.start()
        self.history.start()

    def announce(self, address: str, key: str) -> None:
        """Publish the app's address and API key to this user's other programs."""
        self._jobs.announce(address, key)

    def submit(
        self,
        request: GenerationRequest,
        model: str,
        owner: str = "",
        group: str = "",
        *,
        on_cpu: bool = False,
        trusted: bool = False,
    ) -> str:
        """Queue a request and return the job's id; afterwards the job survives a restart.

        ``group`` is shared by requests that belong together, see ``cancel_group``. ``on_cpu`` makes this picture on the
        CPU even if there is a GPU. ``trusted`` callers may use every uploaded picture.

        Raises:
            BusyError: the queue is full, or the pictures have used up their disk quota.
            ForbiddenError: ``on_cpu`` on a shared page, because it would unload the model from the GPU.
            StudioError: the request can't be planned or exceeds a limit, the model isn't on this machine, the queue
                can't be written, or the app is closing.
        """
        return self.submit_group([request], model, owner, group, on_cpu=on_cpu, trusted=trusted)[0]

    def _device(self, on_cpu: bool) -> str:
        """The device for a job; empty for the default one. Raises as ``submit`` does."""
        if not on_cpu:
            return ""
        if not self._local:
            raise RequestError(
                "use_gpu",
                Text(
                    "false is for pictures that this app makes itself; its runner chooses its own device",
                    "false 仅用于由本程序自己生成的图片；当前的生成器自行决定设备",
                ),
            )
        # Only torch finds GPUs of all vendors. Importing it takes seconds, but the picture needs it anyway.
        from zimage_app.models.device import best_device

        if all((slot.device or best_device().type) == "cpu" for slot in self._slots):
            return ""  # under another device name the model would be loaded again, and its times counted separately
        refuse_if_shared("models", shared=self.shared)
        return "cpu"

    def checked_plan(
        self, request: GenerationRequest, model: str, owner: str, *, trusted: bool = False
    ) -> GenerationPlan:
        """Plan a request, check limits and start picture; raises StudioError if it can't be done or isn't allowed."""
        plan = self.plan(request, model)
        self._check_tokens(plan, model)
        check_plan(plan, self._config.allowed)
        self.inputs.check(plan.request.start, owner, trusted=trusted)
        return plan

    @property
    def max_waiting(self) -> int:
        """Maximum number of waiting jobs per owner."""
        return self._config.allowed.waiting_of_owner

    @property
    def remembers_stages(self) -> bool:
        """Whether a loaded model caches stage results."""
        return self._config.stage_memory > 0

    def upscaled(self, picture: SavedPicture, asked: Upscaling, model: str, owner: str = "") -> GenerationRequest:
        """Return the request that enlarges a picture of the history.

        Raises:
            RequestError: the result would be too large.
            StorageError: the picture's file is missing, or can't be stored as a start picture.
            ModelError: the model isn't on this machine.
        """
        kept = self.store_as_input(picture, owner)
        return upscaled(picture.record.request, kept.sha256, (kept.width, kept.height), self.card(model), asked)

    def store_as_input(self, picture: SavedPicture, owner: str = "") -> StoredPicture:
        """Store a history picture as a start picture; raises StorageError if its file can't be read or stored."""
        try:
            data = picture.read()
        except OSError as error:
            raise StorageError(
                Text(f"{picture.path.name} is no longer there.", f"{picture.path.name} 已不存在。")
            ) from error
        return self.inputs.save(data, picture.path.name, owner)

    def submit_group(
        self,
        requests: Sequence[GenerationRequest],
        model: str,
        owner: str = "",
        group: str = "",
        *,
        on_cpu: bool = False,
        trusted: bool = False,
    ) -> list[str]:
        """Queue all requests of a group or none; return the jobs' ids.

        Raises as ``submit`` does; also RequestError of ``count`` for more requests than may ever wait.
        """
        limits = self._config.allowed
        check_count(len(requests), limits.waiting_of_owner, "count")
        device = self._device(on_cpu)
        plans = [self.checked_plan(each, model, owner, trusted=trusted) for each in requests]
        check_disk(self._disk.used() if limits.outputs is not None else 0, limits)
        jobs = [self._new_job(plan, model, owner, group, device) for plan in plans]
        self._jobs.submit(jobs)
        return [job.id for job, _ in jobs]

    def _new_job(self, plan: GenerationPlan, model: str, owner: str, group: str, device: str) -> tuple[Job, LiveJob]:
        job_id, mark = secrets.token_hex(8), owner_mark(owner)
        job = Job(job_id, mark, model, plan.request.model_dump_json(), plan.cost, group, device)
        view = JobView(
            job_id,
            mark,
            model,
            prompt=plan.request.prompt,
            seed=None if plan.request.seed == "random" else plan.request.seed,
            group=group,
            stages=stage_views(plan.request),
            warnings=plan.warnings,
        )
        context = copy_context() if self._config.borrowed_gpu else None
        return job, LiveJob(view, plan, context)

    def view(self, job_id: str) -> JobView | None:
        """Return the job's current state, or None if the id isn't known or no longer known."""
        return self._jobs.view(job_id)

    def run_of(self, job_id: str, owner: str) -> tuple[JobView, GenerationPlan] | None:
        """Return a job's view and plan; None if they are no longer known, or this owner may not see them."""
        live = self._jobs.progress.get(job_id)
        if live is None or live.plan is None or not may_see(live.view.owner, owner, shared=self.shared):
            return None
        return live.view, live.plan

    def wait(self, job_id: str, version: int, timeout: float) -> JobView:
        """Wait up to ``timeout`` seconds for a view newer than ``version``; return the newest in any case.

        Raises:
            RequestError: the id isn't known.
            GenerationError: the app is closing.
        """
        found = self._jobs.progress.wait(job_id, version, timeout) or self._jobs.view(job_id)
        if found is None:
            raise RequestError("job", Text(f"{job_id} is not known", f"找不到任务 {job_id}"))
        return found

    def watch(self, job_id: str, seconds: float) -> AsyncIterator[JobView]:
        """Yield the newest view of a job after every change and every ``seconds``, until the job is over.

        Asynchronous: no thread waits. Ends at once for a job that isn't known any more. Raises GenerationError when the
        app closes.
        """
        return self._jobs.progress.watch(job_id, seconds)

    def current(self, owner: str) -> str | None:
        """Return the id of the owner's running job, or else of their next waiting job, or None."""
        return self._jobs.progress.current(owner_mark(owner))

    def cancel(self, job_id: str) -> None:
        """Cancel a waiting or running job. A running one ends before its next model evaluation."""
        self._jobs.stop([job_id])

    def cancel_group(self, group: str, owner: str, *, shared: bool) -> int:
        """Cancel all jobs of a group that this owner may cancel; return their number."""
        ids = [view.id for view in self.jobs(owner, shared=shared) if group and view.group == group]
        self._jobs.stop(ids)
        return len(ids)

    def jobs(self, owner: str, *, shared: bool) -> tuple[JobView, ...]:
        """Return unfinished jobs in the order in which they run; only this owner's if the page is ``shared``."""
        return tuple(view for view in self._jobs.progress.open_jobs() if may_see(view.owner, owner, shared=shared))

    def clear_queue(self, owner: str, *, shared: bool) -> int:
        """Cancel waiting jobs, only this owner's if the page is ``shared``; return their number."""
        if shared and not owner:
            return 0
        return self._jobs.clear(owner_mark(owner) if shared else None)

    def move(self, job_id: str, *, first: bool = False) -> bool:
        """Move a waiting job before its owner's previous job, or before all of the owner's jobs (``first``).

        Returns whether it moved. Raises StorageError if the queue can't be written.
        """
        return self._jobs.move(job_id, first=first)

    def pause_queue(self, paused: bool) -> None:
        """Pause or resume starting waiting jobs; the running job continues. The state survives a restart.

        Raises:
            StorageError: the queue can't be written.
        """
        self._jobs.pause(paused)

    def warnings(self) -> tuple[Text, ...]:
        """Return current problems of the queue, of saving pictures and of runners, for the owner of the machine."""
        troubles = (status.trouble for status, _ in self.runners())
        return (*self._jobs.warnings, *(trouble for trouble in troubles if trouble is not None))

    def today(self, owner: str = "", limit: int = 24) -> tuple[SavedPicture, ...]:
        """Return up to ``limit`` of today's pictures, newest first."""
        day = datetime.now().astimezone().date().isoformat()
        items = self.history.page(owner, Search(day=day), page_size=limit).items
        return tuple(picture for item in items if (picture := self.history.find(item.id, owner)))

    def picture(self, picture_id: str, owner: str = "") -> SavedPicture | None:
        """Return a picture; None if there is none that this owner may see. Raises StorageError for a damaged file."""
        mark = owner_mark(owner) if self.shared else None
        held = self._jobs.unsaved(picture_id, mark) if mark != "" else None
        return held or self.history.find(picture_id, owner)

    def loaded(self) -> LoadedModel | None:
        """Return the model in memory, the first one if there are several devices; None if there is none."""
        return next((loaded for slot in self._slots if (loaded := slot.loaded())), None)

    def runners(self) -> tuple[tuple[RunnerStatus, str | None], ...]:
        """Return the status of every runner with the id of its job; fallback runners come last, without a job."""
        working = self._jobs.runners()
        behind = [runner.status() for runner in self._remote] if self._local else []
        return (*working, *((status, None) for status in behind))

    def queue(self) -> QueueView:
        """Return the state of the queue over all owners."""
        return self._jobs.progress.queue()

    def details(self) -> tuple[Section, ...]:
        """Return versions, model, machine, folders and runners, for a bug report."""
        return (*details(self._config, self.monitor, self.loaded(), self.warnings()), runner_section(self.runners()))

    @property
    def suggested_model(self) -> str | None:
        """The variant of Z-Image-Turbo that suits this machine's largest GPU; None if no GPU reports its memory."""
        cards = [(gpu.memory.total, gpu.capability) for gpu in self.monitor.machine().gpus if gpu.memory is not None]
        return suggested(*max(cards, key=lambda card: card[0])) if cards else None

    @property
    def device(self) -> str | None:
        """The first runner's device, such as ``cuda:1``; None: the best device of this machine."""
        return self._slots[0].device

    def use_device(self, name: str | None) -> None:
        """Unload the model, and use another device from the next picture on; None: the best one.

        Raises:
            ModelError: this machine has no such device.
            GenerationError: a picture is being made, or devices or runners were set by flags when the app started.
            ForbiddenError: the page is shared with strangers.
        """
        from zimage_app.models.device import named_device  # imports torch, which takes seconds

        refuse_if_shared("models", shared=self.shared)
        if name is not None:
            named_device(name)

        def change() -> None:
            self._slots[0].clear()
            self._slots[0].device = name

        if len(self._local) != 1:
            raise GenerationError(
                Text(
                    "Where pictures are made was settled by --device or --runner; start the app anew to change it.",
                    "生成位置已由 --device 或 --runner 指定；如需更改，请重新启动程序。",
                )
            )
        self._between_jobs(self._local[0], change)

    def unload(self) -> None:
        """Unload the models; the next picture loads one again.

        Raises:
            GenerationError: a picture is being made.
        """
        for runner, slot in zip(self._local, self._slots, strict=False):
            self._between_jobs(runner, slot.clear)

    def _between_jobs(self, runner: LocalRunner, work: Callable[[], None]) -> None:
        """Run ``work`` in a runner's thread between jobs; raises GenerationError if a picture keeps it busy."""
        command = runner.command(work)
        try:
            command.result(_COMMAND_SECONDS)
        except TimeoutError:
            if command.cancel():
                raise GenerationError(
                    Text(
                        "The model is at work; stop the picture or wait until it is done, then try again.",
                        "模型正在使用中；请先停止或等待当前图片完成，然后重试。",
                    )
                ) from None
            command.result()

    def close(self) -> None:
        """Stop the running job and all threads. Running and waiting jobs stay in the queue for the next start."""
        self.models.close()
        self.groups.close()
        self._jobs.close()
        for runner in self._remote:  # the dispatcher doesn't close fallback runners
            runner.close(_RUNNER_SECONDS)
        self.history.close()

    def plan(self, request: GenerationRequest, model: str) -> GenerationPlan:
        """Plan a request for a model, with seeds drawn; raises StudioError if it can't be planned."""
        return make_plan(request, self.card(model), lora_name=self.loras.name_of, wildcard=self.wildcards.lines)

    def workflow(self, request: GenerationRequest, model: str, form: Form) -> tuple[dict[str, Any], list[Text]]:
        """Export a request as a ComfyUI workflow with notes for the user; raises as ``plan`` and ``exported`` do."""
        source = self._source(model)
        plan = self.plan(request, model)
        return exported(plan, source.card.name, file_names(source, self.loras, plan.request), form)

    def _local_runner(self, slot: ModelSlot) -> LocalRunner:
        model = partial(self._model, slot)
        dependencies = LocalDependencies(self.plan, model, self.loras.hash_files, self._gallery)

        def where() -> tuple[str, str]:
            loaded = slot.loaded()
            return slot.device or "auto", loaded.name if loaded else ""

        return LocalRunner(dependencies, where)

    def _remote_runners(self) -> list[Runner]:
        choice = self._config.fallback if self._config.runner.is_local else self._config.runner
        if choice is None or choice.is_local:
            return []
        dependencies = RemoteDependencies(self.plan, self._source, self.loras, self.inputs, self._gallery)
        return KINDS[choice.kind](dependencies, choice.addresses)

    def _all_runners(self) -> list[Runner]:
        """Return the runners that the dispatcher assigns jobs to."""
        if self._local and self._remote:
            behind = itertools.cycle(self._remote)
            return [FallbackRunner(runner, next(behind)) for runner in self._local]
        return [*self._local, *self._remote]

    def _model(
        self, slot: ModelSlot, job: Job, tell: Callable[[Text], None], cancelled: Callable[[], bool]
    ) -> Generator:
        if self._config.borrowed_gpu and job.model != self.default_model:
            raise ModelError(
                Text(
                    f"This Space runs {self.default_model} only; choose it as the model.",
                    f"此 Space 只运行 {self.default_model}；请选择该模型。",
                )
            )
        return slot.model(self._source(job.model), tell, cancelled, job.device)
