"""A loaded model that makes pictures: plan, run, one at a time. Knows no queue and no page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import StudioError
from zimage_app.domain.events import Event, Failed, Finished, Warned
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.engine.run import run
from zimage_app.models.components import Components
from zimage_app.models.loader import LoadProgress, load_components
from zimage_app.models.lora import LoraManager, ResolvedLora, resolve
from zimage_app.models.memory import plan_memory
from zimage_app.models.sources import ModelSource
from zimage_app.models.spec import find_model
from zimage_app.service.config import ROOT, StudioConfig
from zimage_app.service.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished picture and what it remembers."""

    image: Image.Image
    record: ImageRecord

    def save(self, outputs: Path = ROOT / "outputs") -> Path:
        """Write the PNG with its settings inside, under ``outputs/YYYY-MM-DD/``; gives its path."""
        import numpy as np

        return Gallery(outputs).save(np.asarray(self.image), self.record).path


def _never() -> bool:
    return False


class Generator:
    """One model on one device. Runs wait for one another: two at once would mix their pictures up."""

    def __init__(self, components: Components, loras: Path) -> None:
        self._components = components
        self._loras = loras
        self._lora_manager = LoraManager(components.transformer)
        self._busy = threading.Lock()

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._components.card

    def plan(self, request: GenerationRequest) -> GenerationPlan:
        """What ``request`` comes to on this model, seeds drawn."""
        return make_plan(request, self.card)

    def stream(
        self, request: GenerationRequest | GenerationPlan, cancelled: Callable[[], bool] = _never
    ) -> Iterator[Event]:
        """The run's events, as they happen; the last is Finished, Failed or Cancelled.

        ``cancelled`` is asked before every model evaluation. Closing the iterator ends the run too; until it is at its
        end or closed, other runs of this generator wait.
        """
        plan = request if isinstance(request, GenerationPlan) else self.plan(request)
        with self._busy:
            try:
                warnings = self._apply_loras(plan)
            except StudioError as error:
                yield Failed(error)
                return
            if warnings:
                yield Warned(warnings)
            yield from run(plan, self._components, cancelled)

    def generate(self, request: GenerationRequest) -> Generated:
        """The picture and its record.

        Raises:
            StudioError: the run failed; says why.
        """
        for event in self.stream(request):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                return Generated(Image.fromarray(event.picture), event.record)
        raise AssertionError("a run that is not cancelled ends in Finished or Failed")

    def _apply_loras(self, plan: GenerationPlan) -> tuple[Text, ...]:
        return tuple(self._lora_manager.apply(find_loras(plan.request, self._loras)))


def find_loras(request: GenerationRequest, loras: Path) -> list[ResolvedLora]:
    """The files under ``loras`` that a request names; those at strength 0 are not looked for.

    Raises:
        LoraError: there is no such file, or the name leads outside.
    """
    return [ResolvedLora(resolve(use.name, loras), use.strength) for use in request.loras if use.strength]


def load_generator(model: str = "demo", config: StudioConfig | None = None) -> Generator:
    """Load a model by name (``demo``) or folder.

    Raises:
        ModelError: there is no such model, or its files are not whole; says which and what to do.
    """
    config = config or StudioConfig()
    return load_source(find_model(model, config.shelves), config)


def load_source(
    source: ModelSource, config: StudioConfig, progress: Callable[[LoadProgress], None] | None = None
) -> Generator:
    """Load a model that has been found already; ``progress`` is told what is being read."""
    return Generator(load_components(source, plan_memory(source), progress), config.loras)
