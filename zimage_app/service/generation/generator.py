"""A loaded model that plans and runs requests, one at a time. Independent of queue and page."""

from __future__ import annotations

import collections.abc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Cancelled, Event, Failed, Finished, Warned
from zimage_app.domain.plan import GenerationPlan, StagePlan, make_plan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.domain.wildcard_expansion import no_wildcards
from zimage_app.domain.wildcards import Lines
from zimage_app.engine.run import PrepareStage, Series, StartImages, run
from zimage_app.engine.stage_memory import StageMemory
from zimage_app.models.components import Components
from zimage_app.models.device import device_title, keep_to_own_memory
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.load.loader import LoadProgress, ignore_progress, load_components, never_cancelled
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.networks.candidates import CANDIDATES
from zimage_app.models.networks.kernels import KernelChoice
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.service.generation.kernel_memory import StoredChoices
from zimage_app.service.generation.start_pictures import PictureInputs, inputs_of
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.upscalers import enlarged_start
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.pictures.decoding import fitted
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.setup.config import HOME_FOLDER, StudioConfig

EventStream = collections.abc.Generator[Event, None, None]


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished picture and its record."""

    image: Image.Image
    record: ImageRecord

    def save(self, outputs: Path = HOME_FOLDER / "outputs") -> Path:
        """Write the PNG with its settings inside, under ``outputs/YYYY-MM-DD/``; return its path."""
        return Gallery(outputs).save(np.asarray(self.image), self.record).path


class Generator:
    """One model on one device. Runs are serialised, because each run changes the model's LoRAs and caches."""

    def __init__(
        self,
        components: Components,
        loras: LoraLibrary,
        about: tuple[Text, ...] = (),
        wildcard: Lines = no_wildcards,
        inputs: PictureInputs | None = None,
        memory: int = 0,
    ) -> None:
        """``memory``: maximum bytes of cached stage results."""
        self._components = components
        self._inputs = inputs or PictureInputs(HOME_FOLDER / "outputs")
        self._about = about
        self._loras = loras
        self._wildcard = wildcard
        self._lora_manager = LoraManager(components.transformer)
        self._memory = StageMemory(memory)
        self._busy = threading.Lock()

    @property
    def about(self) -> tuple[Text, ...]:
        """Device, precision, placement of the weights in memory, and the kernels that were measured as faster."""
        choice = getattr(self._components.transformer, "kernels", None)
        return self._about + (() if choice is None else choice.notes)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._components.card

    @property
    def on_accelerator(self) -> bool:
        """Whether the model uses the memory of a device other than the CPU."""
        return self._components.transformer.device.type != "cpu"

    def plan(self, request: GenerationRequest) -> GenerationPlan:
        """Plan a request for this model, with seeds drawn; raises StudioError if it can't be planned."""
        return make_plan(request, self.card, lora_name=self._loras.name_of, wildcard=self._wildcard)

    def stream(
        self,
        request: GenerationRequest | GenerationPlan,
        cancelled: Callable[[], bool] = lambda: False,
        upcoming: Sequence[GenerationPlan] = (),
    ) -> EventStream:
        """Run a request and yield its events; the last one is Finished, Failed or Cancelled.

        ``cancelled`` is called before every model evaluation. Closing the iterator ends the run too. Other runs of this
        generator wait until the iterator is exhausted or closed. ``upcoming``: the plans that run next; see ``Series``.
        """
        with self._busy:
            try:
                plan = request if isinstance(request, GenerationPlan) else self.plan(request)
                plan, warnings = self._loras.resolve_plan(plan, cancelled)
                prepare, more = self._loras_by_stage(plan.request)
                plan, start = self._started(plan, cancelled)
            except StudioError as error:
                yield Cancelled() if cancelled() else Failed(error)
                return
            if warnings or more:
                yield Warned((*warnings, *more))
            yield from run(plan, self._components, cancelled, prepare, start, Series(self._memory, upcoming))

    def generate(self, request: GenerationRequest) -> Generated:
        """Run a request and return the picture and its record.

        Raises:
            StudioError: the run failed.
        """
        for event in self.stream(request):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                return Generated(Image.fromarray(event.picture), event.record)
        raise AssertionError("a run that is not cancelled ends in Finished or Failed")

    def _started(self, plan: GenerationPlan, cancelled: Callable[[], bool]) -> tuple[GenerationPlan, StartImages]:
        """Load the start picture for the first stage, or for all stages if part of it is kept.

        Returns the plan, with the hash of the upscaler's file if one was used, and the pictures by stage number.
        """
        start = plan.request.start
        if start is None:
            return plan, {}
        stages = plan.stages if start.keeps else plan.stages[:1]
        sizes = {stage.number: (stage.settings.width, stage.settings.height) for stage in stages}
        if start.upscaler is None:
            return plan, {number: self._inputs.start_image(start, size) for number, size in sizes.items()}
        picture, device = self._inputs.image(start.picture), self._components.transformer.device
        start, enlarged = enlarged_start(start, picture, self._inputs.upscalers, device, cancelled)
        images = {number: StartImage(np.asarray(fitted(enlarged, size, start.fit))) for number, size in sizes.items()}
        return replace(plan, request=plan.request.model_copy(update={"start": start})), images

    def _loras_by_stage(self, request: GenerationRequest) -> tuple[PrepareStage, list[Text]]:
        """Return a function that applies a stage's LoRAs, and warnings. All files are read and checked immediately."""
        uses = [use for use in request.loras if use.strength]
        files = [ResolvedLora(self._loras.find(use.name).path, use.strength) for use in uses]
        stack, warnings = self._lora_manager.read(files)

        def prepare(stage: StagePlan) -> bool:
            on = tuple(item for item, use in zip(stack, uses, strict=True) if use.acts_in(stage.number))
            return self._lora_manager.switch(on)

        return prepare, warnings


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of loading a model."""

    device: str | None = None
    """Device such as ``cuda:1``; None means the machine's best device."""
    progress: Callable[[LoadProgress], None] = ignore_progress
    """Called with the progress of reading."""
    cancelled: Callable[[], bool] = never_cancelled
    memory: int = 0
    """Bytes of stages that it remembers."""
    memory_limit: int | None = None
    """Bytes of the device's memory that the model may use; None: all free memory."""
    kernels: Path | None = None
    """File that stores which kernels are faster on this machine; None: only plain kernels are used."""
    lasting: bool = False
    """Whether many pictures are expected, so that the time for compiling a kernel pays off."""


_DEFAULT_OPTIONS = LoadOptions()


def load_options(config: StudioConfig) -> LoadOptions:
    """How a process that is set up so loads its model."""
    # On ZeroGPU, measuring kernels would use up the visitor's quota, and a run that exceeds its lease is killed.
    kernels = None if config.plain or config.borrowed_gpu else config.state / "kernels.json"
    return LoadOptions(config.device, memory=config.stage_memory, memory_limit=config.device_memory, kernels=kernels)


def load_generator(model: str = "demo", config: StudioConfig | None = None) -> Generator:
    """Load a model by name (``demo``) or folder.

    Raises:
        ModelError: there is no such model, or its files are missing or damaged.
    """
    config = config or StudioConfig()
    source, loras = find_model(model, config.model_folders), LoraLibrary(*config.lora_folders)
    wildcard, inputs = WildcardLibrary(*config.wildcard_folders).lines, inputs_of(config)
    return load_source(source, loras, load_options(config), wildcard, inputs)


def load_source(
    source: ModelSource,
    loras: LoraLibrary,
    loading: LoadOptions = _DEFAULT_OPTIONS,
    wildcard: Lines = no_wildcards,
    inputs: PictureInputs | None = None,
) -> Generator:
    """Load a model from its source.

    Raises what ``plan_memory`` and ``load_components`` raise.
    """
    plan = plan_memory(source, loading.device, loading.memory_limit)
    keep_to_own_memory(plan.device)
    components = load_components(source, plan, loading.progress, loading.cancelled)
    transformer = components.transformer
    if loading.kernels is not None and isinstance(transformer, FastTransformer):
        candidates = [each for each in CANDIDATES if loading.lasting or not each.compiled]
        kind = f"{transformer.description}, {len(candidates)} candidates"
        stored = StoredChoices(loading.kernels, device_title(transformer.device), kind)
        transformer.kernels = KernelChoice(transformer.device, transformer.dtype, stored, candidates)
    return Generator(components, loras, (plan.reason, *components.notes), wildcard, inputs, loading.memory)
